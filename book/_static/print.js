// Paper is white, also for those who read in the dark: the theme is light while a page prints.
matchMedia("print").addEventListener("change", ({matches}) => {
  const told = document.documentElement.dataset;
  if (matches) [told.screenTheme, told.theme] = [told.theme, "light"];
  else if (told.screenTheme) told.theme = told.screenTheme;
});
