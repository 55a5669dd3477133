/* The curriculum explorer: images as points on one canvas. D3 moves the map and finds the
   nearest point; the story, the marks and the card are ours. Nothing is fetched from
   elsewhere: the data stand in the page (ccfs_lib/report/explorer.py). */
(() => {
  "use strict";

  const { pointer, quadtree, select, zoom, zoomIdentity } = window.d3;

  // As in ccfs_lib/explorer.py.
  const [PICKED, BEFORE, COARSE, VETOED, BEHIND, TIED] = [0, 1, 2, 3, 4, 5];
  const SHAPES = ["circle", "square", "triangle", "star", "wedge", "cross"];
  const COLOURS = 5; // of phases; with six shapes, thirty phases look different
  const REACH = { mouse: 22, pen: 26, touch: 36 }; // pixels from pointer to point
  const DEEPEST = 24; // zoom
  const ARRAYS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array };
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  const AROUND = [[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [1, -1], [-1, 1], [-1, -1]];

  const number = (x) => x.toLocaleString("en");
  const decimal = (x) => (Math.round(x * 100) / 100).toString().replace("-", "\u2212");
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

  function ordinal(n) {
    const teen = n % 100 > 10 && n % 100 < 14;
    return number(n) + ((!teen && { 1: "st", 2: "nd", 3: "rd" }[n % 10]) || "th");
  }

  function unpack({ type, data }) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    return new ARRAYS[type](bytes.buffer);
  }

  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made) made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  /* -- words: what is known of a point --------------------------------------------- */

  class Story {
    constructor(told) {
      Object.assign(this, told);
      for (const [name, packed] of Object.entries(told.columns)) this[name] = unpack(packed);
      this.count = this.label.length;
      this.phases = this.quotas.length;
      const words = {
        simple: ["simplest", "too hard", "as hard as the last one selected"],
        hard: ["hardest", "too easy", "as easy as the last one selected"],
        random: ["drawn", "not drawn", ""],
      };
      [this.most, this.behind, this.tied] = words[this.fine];
      this.unfiltered ||= []; // phases without a filter: alpha 0
      this.known = this.coarse === "misclassified" ? "filter right" : "filter wrong";
    }

    isDistilled(i) {
      return i >= this.real;
    }

    fate(i, phase) {
      return this.fates[(phase - 1) * this.real + i];
    }

    /* Category of a point in a view: 0 tells when it was selected, j its fate in phase j. */
    category(i, view) {
      if (this.isDistilled(i)) return view ? 6 : this.phases + 1;
      return view ? this.fate(i, view) : this.picked[i];
    }

    categories(view) {
      const mark = (phase) => ({
        shape: SHAPES[(phase - 1) % SHAPES.length],
        colour: `--cx-phase-${((phase - 1) % COLOURS) + 1}`,
      });
      const distilled = { name: "distilled", shape: "diamond", colour: "--cx-made", hollow: true };
      const rest = { shape: "dot", colour: "--cx-rest" };
      if (!view) {
        const each = this.quotas.map((_, p) => ({ name: `phase ${p + 1}`, ...mark(p + 1) }));
        return [{ name: "never selected", ...rest }, ...each, distilled];
      }
      return [
        { name: `selected in phase ${view}`, ...mark(view) },
        { name: "in the set already", shape: "circle", colour: "--cx-ink", hollow: true, small: true },
        { name: this.known, ...rest },
        { name: "teacher wrong", shape: "x", colour: "--cx-veto" },
        { name: this.behind, shape: "triangle", colour: "--cx-behind", small: true },
        { name: "just missed: a tie", shape: "triangle", colour: "--cx-behind", hollow: true },
        distilled,
      ];
    }

    verdict(i) {
      if (this.isDistilled(i)) return "Distilled";
      return this.picked[i] ? `Selected in phase ${this.picked[i]}` : "Never selected";
    }

    facts(i) {
      const name = this.classes[this.label[i]];
      if (this.isDistilled(i))
        return ["Recovered from the teacher\u2019s weights; every phase\u2019s set begins with it."];
      const lines = [`Training image ${number(this.index[i])}`];
      if (this.difficulty.length === this.real)
        lines.push(`Difficulty ${decimal(this.difficulty[i])}, harder than ${this.easier[i]} % of all`);
      const [odd, near] = [this.strangers[i], this.neighbours];
      lines.push(odd ? `${odd} of the ${near} images nearest to it are of another class`
        : `The ${near} images nearest to it are of its class`);
      const teacher = this.classes[this.teacher[i]];
      if (teacher !== name) lines.push(`The teacher takes it for: ${teacher}`);
      return lines;
    }

    /* One entry per phase: what its filter said, if it had one, and why the image was selected or not. */
    steps(i) {
      if (this.isDistilled(i)) return [];
      return this.quotas.map((quota, p) => {
        const at = p * this.real + i;
        const said = this.classes[this.answers[at]];
        const right = this.answers[at] === this.label[i];
        const own = this.difficulty.length > this.real;
        const why = this.why(i, p, quota, this.ranks[at]);
        const none = this.unfiltered.includes(p + 1);
        const answer = none ? "no filter" : `filter says ${said}`;
        return { answer, none, right, why: own ? `${why} (difficulty ${decimal(this.difficulty[at])})` : why };
      });
    }

    why(i, p, quota, rank) {
      const pool = number(this.pools[p][this.label[i]]);
      const queue = `${ordinal(rank)} of ${pool} candidates in its class, ${number(quota)} wanted`;
      switch (this.fate(i, p + 1)) {
        case PICKED: {
          const place = rank > 1 || this.fine === "random" ? `${ordinal(rank)} ` : "";
          const how = this.fine === "random" ? `${this.most} ${place.trim()}` : `${place}${this.most}`;
          return `selected: ${how} of ${pool} candidates in its class, ${number(quota)} wanted`;
        }
        case BEFORE:
          return `in the set already, from phase ${this.picked[i]}`;
        case COARSE:
          return `no candidate: ${this.known}`;
        case VETOED:
          return "no candidate: the teacher is wrong";
        case BEHIND:
          return `${this.behind}: ${queue}`;
        default:
          return `${this.tied}, but later in the data: ${queue}`;
      }
    }

    /* All of it as one text, for those who listen. */
    spoken(i) {
      const steps = this.steps(i).map(
        (s, p) => `Phase ${p + 1}: ${s.answer}${s.none ? "" : s.right ? ", right" : ", wrong"}; ${s.why}.`
      );
      const head = [this.classes[this.label[i]], this.verdict(i), ...this.facts(i)].join(". ");
      return `${head.replace(/\.$/, "")}. ${steps.join(" ")}`.trim();
    }
  }

  /* -- marks ------------------------------------------------------------------------ */

  function outline(ctx, shape, r) {
    const corners = (count, turn, inner = 1) => {
      for (let c = 0; c < count; c++) {
        const radius = c % 2 ? r * inner : r;
        const angle = turn + (2 * Math.PI * c) / count;
        ctx.lineTo(radius * Math.cos(angle), radius * Math.sin(angle));
      }
      ctx.closePath();
    };
    const up = -Math.PI / 2;
    ctx.beginPath();
    if (shape === "circle" || shape === "dot") ctx.arc(0, 0, r * 0.92, 0, 2 * Math.PI);
    else if (shape === "square") ctx.rect(-r * 0.82, -r * 0.82, r * 1.64, r * 1.64);
    else if (shape === "triangle") corners(3, up);
    else if (shape === "wedge") corners(3, -up);
    else if (shape === "diamond") corners(4, up);
    else if (shape === "star") corners(10, up, 0.5);
    else {
      // cross and x: twelve corners of a plus, upright or turned
      const [a, b] = [r * 0.34, r];
      const plus = [[-a, -b], [a, -b], [a, -a], [b, -a], [b, a], [a, a]];
      plus.push(...plus.map(([x, y]) => [-x, -y]));
      const turn = shape === "x" ? Math.SQRT1_2 : 0;
      for (const [x, y] of plus) ctx.lineTo(turn ? (x - y) * turn : x, turn ? (x + y) * turn : y);
      ctx.closePath();
    }
  }

  function drawMark(ctx, mark, r, colours) {
    outline(ctx, mark.shape, r);
    ctx.lineJoin = "round";
    if (mark.shape === "dot") {
      ctx.fillStyle = colours[mark.colour];
      return ctx.fill();
    }
    if (mark.hollow) {
      ctx.lineWidth = r * 0.75;
      ctx.strokeStyle = colours["--cx-ground"];
      ctx.stroke();
      ctx.lineWidth = r * 0.36;
      ctx.strokeStyle = colours[mark.colour];
      return ctx.stroke();
    }
    ctx.lineWidth = r * 0.36; // a rim, so that crowded marks stay countable
    ctx.strokeStyle = colours["--cx-ground"];
    ctx.stroke();
    ctx.fillStyle = colours[mark.colour];
    ctx.fill();
  }

  /* -- the page --------------------------------------------------------------------- */

  class Explorer {
    constructor(root, told) {
      this.root = root;
      root.lang = "en"; // so that long class names are hyphenated
      this.story = new Story(told);
      Object.assign(this, { view: 0, only: -1, hidden: new Set(), current: -1, pinned: false });
      Object.assign(this, { transform: zoomIdentity, pictures: false, taken: new Map() });
      this.sheet = element("img", { src: told.sheet, alt: "" });
      this.build();
      this.listen();
      this.recolour();
      this.recount();
      const sized = new Promise((done) => (this.sized = done));
      this.resize();
      Promise.all([this.sheet.decode().catch(() => null), sized]).then(() => {
        this.show(this.current < 0 ? this.opening() : this.current);
        this.root.dataset.ready = "true";
      });
    }

    build() {
      const { story } = this;
      const option = (value, text) => element("option", { value, textContent: text });
      this.viewing = element("select", {}, option(0, "phase of selection"),
        ...story.quotas.map((_, p) => option(p + 1, `what phase ${p + 1} did`)));
      this.choosing = element("select", {}, option(-1, "all classes"),
        ...story.classes.map((name, c) => option(c, name)));
      this.picturing = element("input", { type: "checkbox" });
      const bar = element("div", { className: "cx-bar" },
        element("label", {}, element("span", {}, "Colour by"), this.viewing),
        element("label", {}, element("span", {}, "Class"), this.choosing),
        element("label", { className: "cx-check" }, this.picturing, "Pictures"));
      this.chips = element("div", { className: "cx-chips", role: "group", "aria-label": "Show or hide" });
      this.canvas = element("canvas", { "aria-hidden": "true" });
      this.rings = element("canvas", { "aria-hidden": "true" });
      this.tip = element("div", { className: "cx-tip", "aria-hidden": "true", hidden: true });
      this.plot = element("div", {
        className: "cx-plot", tabIndex: 0, role: "application", "aria-roledescription": "scatter plot",
        "aria-label": `${number(story.count)} images of ${story.name}, ` +
          "near each other where the teacher sees them alike",
        "aria-description": "Arrow keys: nearest point in that direction. " +
          "Enter: hold it. Escape: let go. Plus, minus, 0: zoom.",
      }, this.canvas, this.rings, this.tip);
      const button = (sign, title, onclick) =>
        element("button", { type: "button", title, onclick, "aria-label": title }, sign);
      this.buttons = element("div", { className: "cx-zoom" },
        button("+", "Zoom in", () => this.zoomBy(1.6)),
        button("\u2212", "Zoom out", () => this.zoomBy(1 / 1.6)),
        button("\u21ba", "Whole map", () => this.zoomBy(0)));
      this.card = element("div", { className: "cx-card" });
      this.status = element("p", { className: "cx-status", role: "status" });
      this.live = element("p", { className: "cx-live", "aria-live": "polite" });
      const keys = element("p", { className: "cx-keys" });
      const known = [["\u2190\u2191\u2193\u2192", "next point"], [["Enter"], "hold"], [["Esc"], "let go"],
        ["+\u22120", "zoom; drag to move"]];
      for (const [caps, meaning] of known)
        keys.append(...[...caps].map((cap) => element("kbd", {}, cap)), ` ${meaning} `);
      const wide = Math.max(...story.x) / Math.max(...story.y, 1);
      this.plot.style.aspectRatio = clamp(wide, 1, 1.5).toFixed(3);
      this.root.replaceChildren(bar, this.chips,
        element("div", { className: "cx-body" },
          element("div", { className: "cx-stage" }, this.plot, this.buttons), this.card),
        this.status, keys, this.live);
    }

    listen() {
      const { plot } = this;
      this.viewing.onchange = () => this.change({ view: +this.viewing.value, hidden: new Set() });
      this.choosing.onchange = () => this.change({ only: +this.choosing.value });
      this.picturing.onchange = () => this.change({ pictures: this.picturing.checked });
      this.zooming = zoom()
        .scaleExtent([1, DEEPEST])
        .clickDistance(5)
        .wheelDelta((event) => -event.deltaY / 140) // halvings: the same with mouse and pad
        .filter((event) => this.meant(event))
        .on("zoom", ({ transform }) => this.moved(transform));
      // D3 lets go of a wheel that it cannot obey; the browser would zoom the whole page.
      const keep = (event) => this.meant(event) && event.preventDefault();
      this.map = select(plot).call(this.zooming).on("dblclick.zoom", null)
        .on("wheel", keep, { passive: false });
      plot.addEventListener("keydown", (event) => this.key(event));
      plot.addEventListener("pointerdown", (event) => (this.by = event.pointerType));
      plot.addEventListener("pointermove", (event) => {
        const idle = event.pointerType === "mouse" && !event.buttons && !this.pinned;
        if (idle) this.hover(...pointer(event, plot));
      });
      plot.addEventListener("click", (event) => this.click(...pointer(event, plot), this.by));
      plot.addEventListener("pointerleave", (event) => {
        if (event.pointerType === "mouse") this.tip.hidden = true;
      });
      plot.addEventListener("blur", () => (this.tip.hidden = true));
      new ResizeObserver(() => this.resize()).observe(plot);
      new MutationObserver(() => this.recolour()).observe(document.documentElement, {
        attributes: true, attributeFilter: ["data-theme"],
      });
    }

    change(changes) {
      Object.assign(this, changes);
      this.recount();
      this.draw();
      if (this.current >= 0 && !this.visible(this.current)) this.show(-1);
      else if (this.current >= 0) this.show(this.current); // its colour may be another
    }

    recolour() {
      const style = getComputedStyle(this.root);
      const names = ["ground", "ink", "rest", "made", "veto", "behind"];
      for (let c = 1; c <= COLOURS; c++) names.push(`phase-${c}`);
      this.colours = Object.fromEntries(
        names.map((name) => [`--cx-${name}`, style.getPropertyValue(`--cx-${name}`).trim()]));
      this.draw();
      if (this.legend) this.legendMarks();
      if (this.current >= 0) this.show(this.current);
    }

    /* -- what is visible ------------------------------------------------------------ */

    visible(i) {
      const { story, only, hidden, view } = this;
      return (only < 0 || story.label[i] === only) && !hidden.has(story.category(i, view));
    }

    recount() {
      const { story, view, only } = this;
      const marks = story.categories(view);
      const counts = marks.map(() => 0);
      this.groups = marks.map(() => []);
      for (let i = 0; i < story.count; i++) {
        if (only >= 0 && story.label[i] !== only) continue;
        const c = story.category(i, view);
        counts[c]++;
        if (!this.hidden.has(c)) this.groups[c].push(i);
      }
      this.marks = marks;
      this.trees = {};
      this.legend = marks.map((mark, c) => this.chip(mark, c, counts[c]));
      const held = this.chips.contains(document.activeElement) && document.activeElement.dataset.category;
      this.chips.replaceChildren(...this.legend.filter((chip) => chip));
      this.chips.querySelector(`[data-category="${held}"]`)?.focus();
      this.legendMarks();
      const shown = this.groups.reduce((sum, group) => sum + group.length, 0);
      const all = story.total - story.real;
      const left = all
        ? ` A sample of the ${number(story.total)} training images: ${story.kept}; ` +
          `${number(all)} are left out.`
        : "";
      this.status.textContent = `${number(shown)} of ${number(story.count)} points shown.${left}`;
    }

    chip(mark, c, count) {
      if (!count && this.only < 0 && this.view) return null; // no such fate in this phase
      const picture = element("canvas", { width: 36, height: 36, "aria-hidden": "true" });
      return element("button", {
        type: "button", className: "cx-chip", "data-category": c, "aria-pressed": String(!this.hidden.has(c)),
        onclick: () => {
          const hidden = new Set(this.hidden);
          if (!hidden.delete(c)) hidden.add(c);
          this.change({ hidden });
        },
      }, picture, element("span", {}, mark.name), element("b", {}, number(count)));
    }

    legendMarks() {
      this.legend.forEach((chip, c) => chip && this.mark(chip.firstChild, this.marks[c]));
    }

    mark(canvas, mark) {
      const ctx = canvas.getContext("2d");
      ctx.setTransform(1, 0, 0, 1, 0, 0);
      ctx.clearRect(0, 0, canvas.width, canvas.height);
      ctx.translate(canvas.width / 2, canvas.height / 2);
      drawMark(ctx, mark, mark.shape === "dot" ? 7 : 12, this.colours);
    }

    /* -- drawing -------------------------------------------------------------------- */

    resize() {
      const { clientWidth: width, clientHeight: height } = this.plot;
      if (!width || !height) return;
      const { story } = this;
      this.dpr = Math.min(window.devicePixelRatio || 1, 2);
      for (const canvas of [this.canvas, this.rings]) {
        canvas.width = Math.round(width * this.dpr);
        canvas.height = Math.round(height * this.dpr);
      }
      const pad = 20;
      const [right, low] = [Math.max(...story.x), Math.max(...story.y, 1)];
      // Distances across a t-SNE map mean nothing, so a wide page may stretch it a little.
      const [across, down] = [(width - 2 * pad) / right, (height - 2 * pad) / low];
      const [sx, sy] = [Math.min(across, down * 1.5), Math.min(down, across * 1.5)];
      const [x0, y0] = [(width - right * sx) / 2, (height - low * sy) / 2];
      this.baseX = Float32Array.from(story.x, (x) => x0 + x * sx);
      this.baseY = Float32Array.from(story.y, (y) => y0 + y * sy);
      Object.assign(this, { width, height, trees: {} });
      const frame = [[0, 0], [width, height]];
      this.zooming.extent(frame).translateExtent(frame);
      this.map.call(this.zooming.translateBy, 0, 0); // back into the new frame
      this.draw();
      this.corner();
      this.sized();
    }

    /* The buttons stand in the corner with the fewest points. */
    corner() {
      const { baseX, baseY, width, height } = this;
      const crowd = ([across, down]) => {
        const hides = (x, i) => (across ? x > width - 130 : x < 130) &&
          (down ? baseY[i] > height - 52 : baseY[i] < 52);
        return baseX.filter(hides).length;
      };
      const corners = [[1, 1], [1, 0], [0, 1], [0, 0]];
      const least = Math.min(...corners.map(crowd));
      const [across, down] = corners.find((c) => crowd(c) === least);
      this.buttons.dataset.corner = `${down ? "low" : "high"} ${across ? "right" : "left"}`;
    }

    get zoom() {
      return this.transform.k;
    }

    at(i) {
      return this.transform.apply([this.baseX[i], this.baseY[i]]);
    }

    draw() {
      if (this.queued || !this.baseX) return;
      this.queued = true;
      requestAnimationFrame(() => {
        this.queued = false;
        this.paint();
      });
    }

    /* Marks are stamped: drawn once each, then copied; 10,000 take a few milliseconds. */
    paint() {
      const { dpr, marks, groups, baseX, baseY, width, height } = this;
      const { k, x: tx, y: ty } = this.transform;
      const ctx = this.canvas.getContext("2d");
      ctx.clearRect(0, 0, this.canvas.width, this.canvas.height);
      const many = this.story.count > 4000 && this.only < 0;
      const growth = Math.min(2.2, k ** 0.4) * (width < 420 ? 0.85 : 1);
      this.taken = this.pictures ? this.thumbnails() : new Map();
      for (const c of this.inDepth()) {
        const mark = marks[c];
        const r = this.radius(mark, many) * growth * dpr;
        const stamp = this.stamp(mark, r);
        ctx.globalAlpha = mark.shape === "dot" && many ? 0.7 : 1;
        const half = stamp.width / 2;
        for (const i of groups[c]) {
          const x = baseX[i] * k + tx;
          const y = baseY[i] * k + ty;
          if (x > -9 && y > -9 && x < width + 9 && y < height + 9 && !this.taken.has(i))
            ctx.drawImage(stamp, Math.round(x * dpr - half), Math.round(y * dpr - half));
        }
      }
      ctx.globalAlpha = 1;
      for (const [i, side] of this.taken) this.thumbnail(ctx, i, side);
      this.ring();
    }

    /* The categories, hindmost first: what a view is about lies on top. */
    inDepth() {
      const depth = ({ shape, small, hollow }) => (shape === "dot" ? 0 : small ? 1 : hollow ? 2 : 3);
      const order = this.marks.map((mark, c) => [depth(mark), c]);
      return order.sort(([a, c], [b, d]) => a - b || c - d).map(([, c]) => c);
    }

    radius(mark, many) {
      if (mark.shape === "dot") return many ? 1.7 : 2.7;
      return (many ? 3.6 : 5.2) * (mark.small ? 0.8 : 1);
    }

    stamp(mark, r) {
      const side = Math.ceil(2 * r + 4);
      const canvas = element("canvas", { width: side, height: side });
      const ctx = canvas.getContext("2d");
      ctx.translate(side / 2, side / 2);
      drawMark(ctx, mark, r, this.colours);
      return canvas;
    }

    /* Pictures where there is room, the foremost marks first; the others stay marks. */
    thumbnails() {
      const side = clamp(Math.round(this.story.side * (this.width < 420 ? 0.75 : 1)), 22, 30) *
        Math.min(2, this.zoom ** 0.35);
      const cell = side + 5;
      const columns = Math.ceil(this.width / cell) + 2;
      const full = new Map(); // cell -> the picture in it; one fits, its neighbours may touch
      const taken = new Map();
      for (const i of this.inDepth().reverse().flatMap((c) => this.groups[c])) {
        const [x, y] = this.at(i);
        if (x < 0 || y < 0 || x > this.width || y > this.height) continue;
        const at = (Math.floor(y / cell) + 1) * columns + Math.floor(x / cell) + 1;
        const free = AROUND.every(([right, down]) => {
          const other = full.get(at + down * columns + right);
          return !other || Math.abs(other[0] - x) >= cell || Math.abs(other[1] - y) >= cell;
        });
        if (!free) continue;
        full.set(at, [x, y]);
        taken.set(i, side);
      }
      return taken;
    }

    thumbnail(ctx, i, side) {
      const [x, y] = this.at(i).map((v) => v * this.dpr);
      const half = (side * this.dpr) / 2;
      const mark = this.marks[this.story.category(i, this.view)];
      ctx.fillStyle = this.colours[mark.colour];
      const rim = (mark.shape === "dot" ? 1 : 2.5) * this.dpr;
      ctx.fillRect(x - half - rim, y - half - rim, 2 * (half + rim), 2 * (half + rim));
      this.picture(ctx, i, x - half, y - half, 2 * half);
    }

    picture(ctx, i, x, y, size) {
      const { tiles, side } = this.story;
      ctx.imageSmoothingEnabled = false;
      const [left, top] = [(i % tiles) * side, Math.floor(i / tiles) * side];
      ctx.drawImage(this.sheet, left, top, side, side, x, y, size, size);
    }

    ring() {
      const ctx = this.rings.getContext("2d");
      ctx.clearRect(0, 0, this.rings.width, this.rings.height);
      if (this.current < 0) return;
      const [x, y] = this.at(this.current).map((v) => v * this.dpr);
      const side = this.taken.get(this.current);
      const r = (side ? side * 0.75 : 10) * this.dpr;
      const circle = (radius, width, colour) => {
        ctx.beginPath();
        ctx.arc(x, y, radius, 0, 2 * Math.PI);
        ctx.lineWidth = width * this.dpr;
        ctx.strokeStyle = this.colours[colour];
        ctx.stroke();
      };
      circle(r, 5, "--cx-ground");
      circle(r, 2.2, "--cx-ink");
      if (this.pinned) circle(r + 5 * this.dpr, 2.2, "--cx-ink");
    }

    /* -- the point that is told about ----------------------------------------------- */

    /* To begin with: the selected image (or any) that is nearest to the middle. */
    opening() {
      const picked = this.tree("picked", (i) => this.story.picked[i]);
      return this.nearest(this.width / 2, this.height / 2, picked.size() ? picked : this.tree());
    }

    /* Visible points by place, made when first asked for; of `all`, or those that `belong`.
       Where points coincide the last one is found, so the foremost comes last. */
    tree(name = "all", belong = () => true) {
      const points = () => this.inDepth().flatMap((c) => this.groups[c]).filter(belong);
      return (this.trees[name] ??= quadtree(points(), (i) => this.baseX[i], (i) => this.baseY[i]));
    }

    nearest(x, y, tree = this.tree(), reach = Infinity) {
      return tree.find(...this.transform.invert([x, y]), reach / this.zoom) ?? -1;
    }

    /* What a pointer means: a picture, else a mark that it touches before a dot. */
    under(x, y, reach) {
      for (const [i, side] of this.taken) {
        const [px, py] = this.at(i);
        if (Math.max(Math.abs(px - x), Math.abs(py - y)) <= side / 2 + 2) return i;
      }
      const shaped = (i) => this.marks[this.story.category(i, this.view)].shape !== "dot";
      const touched = this.nearest(x, y, this.tree("shaped", shaped), 6);
      return touched < 0 ? this.nearest(x, y, undefined, reach) : touched;
    }

    show(i, { aloud = false, tip = false } = {}) {
      this.current = i;
      if (i < 0) this.pinned = false;
      this.ring();
      const nothing = element("p", { className: "cx-empty" }, "Point at an image.");
      this.card.replaceChildren(...(i < 0 ? [nothing] : this.told(i)));
      this.card.classList.toggle("cx-held", this.pinned);
      this.tip.hidden = !(tip && i >= 0);
      if (!this.tip.hidden) this.hint(i);
      const held = this.pinned ? "Held. " : "";
      if (aloud) this.live.textContent = i < 0 ? "No point." : held + this.story.spoken(i);
    }

    frame(i, size) {
      const pixels = this.story.side * Math.max(1, Math.ceil((2 * size) / this.story.side));
      const canvas = element("canvas", { width: pixels, height: pixels, className: "cx-picture" });
      canvas.style.width = canvas.style.height = `${size}px`;
      this.picture(canvas.getContext("2d"), i, 0, 0, pixels);
      return canvas;
    }

    told(i) {
      const { story } = this;
      const picture = this.frame(i, 100);
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", `The image, a ${story.classes[story.label[i]]}`);
      const mark = (m) => {
        const canvas = element("canvas", { width: 36, height: 36, className: "cx-mark" });
        canvas.ariaHidden = "true";
        this.mark(canvas, m);
        return canvas;
      };
      const own = story.categories(0)[story.category(i, 0)];
      const steps = story.steps(i).map((step, p) =>
        element("li", { className: step.why.startsWith("selected") ? "cx-now" : "" },
          element("span", { className: "cx-phase" }, mark(story.categories(0)[p + 1]), `Phase ${p + 1}`),
          element("span", { className: step.none ? "" : step.right ? "cx-right" : "cx-wrong" },
            `${step.none ? "" : step.right ? "\u2713 " : "\u2717 "}${step.answer}`),
          element("span", { className: "cx-why" }, step.why)));
      const letGo = element("button", { type: "button", className: "cx-let" }, "Held \u00d7");
      Object.assign(letGo, { title: "Let go (Escape)", onclick: () => this.hold(false) });
      return [
        element("div", { className: "cx-head" }, picture,
          element("div", {},
            element("p", { className: "cx-label" }, story.classes[story.label[i]]),
            element("p", { className: "cx-verdict" }, mark(own), story.verdict(i)),
            ...(this.pinned ? [letGo] : []))),
        element("ul", { className: "cx-facts" }, ...story.facts(i).map((line) => element("li", {}, line))),
        element("ol", { className: "cx-steps" }, ...steps),
      ];
    }

    hint(i) {
      const { story, tip } = this;
      const name = element("b", {}, story.classes[story.label[i]]);
      const text = element("span", {}, name, element("br"), story.verdict(i));
      tip.replaceChildren(this.frame(i, 64), text);
      const [x, y] = this.at(i);
      const { offsetWidth: w, offsetHeight: h } = tip;
      const left = x + 18 + w > this.width ? x - 18 - w : x + 18;
      const [across, down] = [clamp(left, 2, this.width - w - 2), clamp(y - h / 2, 2, this.height - h - 2)];
      tip.style.transform = `translate(${across}px, ${down}px)`;
    }

    hold(pinned) {
      this.pinned = pinned && this.current >= 0;
      this.show(this.current, { aloud: true });
      if (!pinned) this.plot.focus({ preventScroll: true });
    }

    /* -- keys and pointers ------------------------------------------------------------ */

    key(event) {
      const { key, ctrlKey, metaKey, altKey } = event;
      if (ctrlKey || metaKey || altKey) return;
      const zooms = { "+": 1.6, "=": 1.6, "-": 1 / 1.6, 0: 0 };
      if (key in ARROWS) this.step(...ARROWS[key]);
      else if (key === "Enter" || key === " ") {
        if (this.current < 0) this.show(this.nearest(this.width / 2, this.height / 2));
        this.hold(!this.pinned);
      } else if (key === "Escape" && this.pinned) this.hold(false);
      else if (key === "Escape") this.show(-1, { aloud: true });
      else if (key in zooms) this.zoomBy(zooms[key], this.current < 0 ? undefined : this.at(this.current));
      else return;
      event.preventDefault();
    }

    /* The nearest point within 45 degrees of an arrow, else within its half of the map. */
    step(dx, dy) {
      let target = -1;
      if (this.current < 0) target = this.nearest(this.width / 2, this.height / 2);
      else {
        const [x, y] = this.at(this.current);
        for (const cone of [1, Infinity]) {
          let best = Infinity;
          for (const i of this.groups.flat()) {
            const [px, py] = this.at(i);
            const along = (px - x) * dx + (py - y) * dy;
            const aside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
            const away = along * along + 2 * aside * aside;
            if (along > 0 && aside <= along * cone && away < best) [best, target] = [away, i];
          }
          if (target >= 0) break;
        }
      }
      if (target < 0) return;
      this.pinned = false;
      this.reveal(target);
      this.show(target, { aloud: true, tip: true });
    }

    reveal(i) {
      const [x, y] = this.at(i);
      const edge = 24;
      if (x < edge || y < edge || x > this.width - edge || y > this.height - edge)
        this.map.call(this.zooming.translateTo, this.baseX[i], this.baseY[i]);
    }

    /* By a factor about a place, by default the middle; 0: the whole map. */
    zoomBy(factor, place) {
      if (factor) this.map.call(this.zooming.scaleBy, factor, place);
      else this.map.call(this.zooming.transform, zoomIdentity);
    }

    /* The page keeps what it needs to scroll: the wheel alone, and one finger on a whole map. */
    meant(event) {
      if (event.type === "wheel") return event.ctrlKey || event.metaKey;
      if (event.touches) return event.touches.length > 1 || this.zoom > 1;
      return !event.button && !event.ctrlKey;
    }

    moved(transform) {
      this.transform = transform;
      this.plot.classList.toggle("cx-deep", transform.k > 1);
      this.tip.hidden = true;
      this.draw();
    }

    click(x, y, by) {
      const hit = this.under(x, y, REACH[by] || REACH.touch);
      this.pinned = by === "mouse" && hit >= 0 && !(this.pinned && hit === this.current);
      this.show(hit < 0 ? this.current : hit, { aloud: true, tip: hit >= 0 });
    }

    hover(x, y) {
      const hit = this.under(x, y, REACH.mouse);
      this.plot.style.cursor = hit < 0 ? "" : "pointer";
      if (hit < 0) this.tip.hidden = true;
      else if (hit !== this.current || this.tip.hidden) this.show(hit, { tip: true });
    }
  }

  function begin() {
    for (const root of document.querySelectorAll(".ccfs-explorer:not([data-begun])")) {
      const data = root.querySelector("script[type='application/json']");
      root.dataset.begun = "true";
      root.explorer = new Explorer(root, JSON.parse(data.textContent));
    }
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
