"use strict";

// Shows an episode glimpse by glimpse. Boxes are (left, top, right, bottom) in pixels of the image.
(() => {
  const source = document.getElementById("episodes-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  if (!data.episodes.length) return;
  const find = (id) => document.getElementById(id);
  const viewer = find("viewer");
  const choice = find("episode");
  const slider = find("glimpse");
  const overlay = find("overlay");
  const { width, height } = data;
  const MOST_CLASSES = 12;
  const UNSEEN = "#293857";
  let episode = 0;
  let wanted = 0;
  let glimpse = 0;
  let strips = [];
  let timer = null;

  const likeliest = (beliefs) => {
    let best = 0;
    beliefs.forEach((belief, index) => { if (belief > beliefs[best]) best = index; });
    return best;
  };
  // Of a sequence each symbol has as many glimpses, and the episode ends with the end symbol that was read.
  const each = data.glimpses_per_target;
  const symbol = (step) => Math.floor(step / each);
  // The true symbols, up to their end symbol and with it; past it there is nothing to be right about.
  const targets = (current) => current.label.slice(0, current.label.indexOf(data.end) + 1 || undefined);
  const truth = (current, step) => (each ? targets(current)[symbol(step)] : current.label);
  const trueName = (target) => (target === undefined ? "past the end" : `true ${data.class_names[target]}`);
  const steps = () => (each ? data.episodes[episode].read.length * each : data.episodes[episode].locations.length);
  const inside = (symbols) => symbols.slice(0, symbols.includes(data.end) ? symbols.indexOf(data.end) : symbols.length);
  const named = (symbols) => inside(symbols).map((index) => data.class_names[index]).join(" ") || "nothing";
  const perCent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)}%`;
  const make = (name, attributes, parent) => {
    const shape = document.createElementNS(overlay.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    parent.append(shape);
    return shape;
  };

  function drawOverlay(current) {
    overlay.replaceChildren();
    overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const first = find("all-boxes").checked ? 0 : glimpse;
    for (let step = first; step <= glimpse; step++) {
      current.boxes[step].forEach(([left, top, right, bottom], scale) => make("rect", {
        x: left, y: top, width: right - left, height: bottom - top, fill: "none", stroke: data.colours[step],
        "stroke-width": Math.max(2.4 - 0.6 * scale, 0.8), "vector-effect": "non-scaling-stroke",
        opacity: (step === glimpse ? 1 : 0.5) * Math.max(1 - 0.2 * scale, 0.4),
      }, overlay));
    }
    const points = current.locations.slice(0, glimpse + 1).map(([x, y]) => [(x + 1) / 2 * width, (y + 1) / 2 * height]);
    const joined = points.map((point) => point.join(",")).join(" ");
    for (const [stroke, thickness] of [["#000", 3], ["#fff", 1.4]]) {
      make("polyline", { points: joined, fill: "none", stroke, "stroke-width": thickness, "vector-effect": "non-scaling-stroke" }, overlay);
    }
    points.forEach(([x, y], step) => {
      const size = Math.max(width, height) * 0.05;
      make("text", {
        x, y: y + 0.35 * size, "font-size": size, "font-weight": 700, "text-anchor": "middle", fill: data.colours[step],
        stroke: "#000", "stroke-width": 0.22 * size, "paint-order": "stroke", "stroke-linejoin": "round",
      }, overlay).textContent = String(step + 1);
    });
    if (each) drawSymbols(current, points);
  }

  // What was read stands by the last glimpse of each symbol.
  function drawSymbols(current, points) {
    const size = Math.max(width, height) * 0.045;
    const symbols = targets(current);
    current.read.slice(0, symbol(glimpse + 1)).forEach((read, place) => {
      const [x, y] = points[(place + 1) * each - 1];
      const right = read === symbols[place];
      make("text", {
        x: Math.min(Math.max(x, 1.2 * size), width - 1.2 * size), y: y + (y > height / 2 ? -1 : 1.7) * size,
        class: "symbol", "font-size": size, "font-weight": 700, "text-anchor": "middle",
        fill: right ? "#7ff0c8" : "#ffb38a", stroke: "#000", "stroke-width": 0.22 * size,
        "paint-order": "stroke", "stroke-linejoin": "round",
      }, overlay).textContent = `${data.class_names[read]} ${right ? "✓" : "✗"}`;
    });
  }

  function drawReading(current) {
    find("reading").hidden = !each;
    if (!each) return;
    const symbols = targets(current);
    const places = Math.max(current.read.length, symbols.length);
    find("reading").replaceChildren(...Array.from({ length: places }, (_, place) => {
      const chip = document.createElement("li");
      const [heading, said] = ["span", "strong"].map((kind) => document.createElement(kind));
      heading.textContent = `symbol ${place + 1}, ${trueName(symbols[place])}`;
      const done = place < symbol(glimpse + 1) && place < current.read.length;
      const right = current.read[place] === symbols[place];
      said.textContent = done ? `${right ? "✓" : "✗"} ${data.class_names[current.read[place]]}` : "–";
      if (done) said.className = right ? "right" : "wrong";
      if (place === symbol(glimpse)) chip.setAttribute("aria-current", "step");
      chip.append(heading, said);
      return chip;
    }));
  }

  // Paints patches into the frame of the image, the coarsest first, so that the finest look at a place wins.
  function drawSeen(canvas, current, from) {
    const zoom = Math.max(1, Math.round(480 / Math.max(width, height)));
    canvas.width = width * zoom;
    canvas.height = height * zoom;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = UNSEEN;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    for (let scale = current.boxes[0].length - 1; scale >= 0; scale--) {
      for (let step = from; step <= glimpse; step++) {
        const side = strips[step].naturalHeight;
        const [left, top, right, bottom] = current.boxes[step][scale].map((edge) => edge * zoom);
        pen.drawImage(strips[step], scale * side, 0, side, side, left, top, right - left, bottom - top);
      }
    }
  }

  function drawPatches(canvas, current) {
    const strip = strips[glimpse];
    const side = strip.naturalHeight;
    const scales = current.boxes[0].length;
    const zoom = Math.max(1, Math.round(120 / side));
    const gap = 6;
    canvas.width = Math.max(scales, 3) * (side * zoom + gap) - gap;
    canvas.height = side * zoom;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    for (let scale = 0; scale < scales; scale++) {
      pen.drawImage(strip, scale * side, 0, side, side, scale * (side * zoom + gap), 0, side * zoom, side * zoom);
    }
  }

  function shownClasses(current) {
    const classes = data.class_names.map((_, index) => index);
    if (classes.length <= MOST_CLASSES) return classes;
    const peak = classes.map((index) => Math.max(...current.probabilities.map((beliefs) => beliefs[index])));
    [current.label].flat().forEach((index) => { peak[index] = Infinity; });
    return classes.sort((a, b) => peak[b] - peak[a]).slice(0, MOST_CLASSES).sort((a, b) => a - b);
  }

  // One line of a bar chart: a name, a bar from `start` to `end` (shares of the track), the value as text.
  function barRow(name, start, end, value) {
    const row = document.createElement("li");
    const [label, track, bar, share] = ["span", "div", "div", "span"].map((kind) => document.createElement(kind));
    label.textContent = name;
    track.className = "track";
    bar.className = "fill";
    bar.style.marginLeft = `${100 * start}%`;
    bar.style.width = `${100 * (end - start)}%`;
    track.append(bar);
    share.className = "share";
    share.textContent = value;
    row.append(label, track, share);
    return row;
  }

  function drawBelief(current) {
    const beliefs = current.probabilities[glimpse];
    find("belief").replaceChildren(...shownClasses(current).map((index) => {
      const isTrue = index === truth(current, glimpse);
      const name = data.class_names[index] + (isTrue ? " (true)" : "");
      const row = barRow(name, 0, beliefs[index], perCent(beliefs[index]));
      row.classList.toggle("true", isTrue);
      return row;
    }));
  }

  // The bars share a zero, so that a loss points the other way than a gain.
  function drawRewards(current) {
    find("rewards-panel").hidden = !Array.isArray(current.reward);
    if (find("rewards-panel").hidden) return;
    const rewards = current.reward.slice(0, steps());
    const numbers = rewards.map((reward) => reward ?? 0);
    const low = Math.min(0, ...numbers);
    const range = Math.max(0, ...numbers) - low || 1;
    find("rewards").replaceChildren(...rewards.map((reward, step) => {
      const [start, end] = [Math.min(0, numbers[step]), Math.max(0, numbers[step])].map((edge) => (edge - low) / range);
      const row = barRow(`glimpse ${step + 1}`, start, end, rewardText(reward));
      row.classList.toggle("loss", numbers[step] < 0);
      if (step === glimpse) row.setAttribute("aria-current", "step");
      row.style.setProperty("--colour", data.colours[step]);
      return row;
    }));
  }

  function rewardText(reward) {
    if (reward === null || reward === undefined) return "not recorded";
    const size = Math.abs(reward);
    const digits = size >= 0.01 || size === 0 ? size.toFixed(2) : size.toPrecision(1);
    return `${reward < 0 ? "−" : size ? "+" : ""}${digits}`;
  }

  function rewardWords(reward) {
    if (!Array.isArray(reward)) return `reward of the episode ${rewardText(reward)}`;
    const sum = reward.slice(0, glimpse + 1).reduce((total, each) => total + (each ?? 0), 0);
    return `reward ${rewardText(reward[glimpse])}, so far ${rewardText(sum)}`;
  }

  function drawStatus(current) {
    const beliefs = current.probabilities[glimpse];
    const best = likeliest(beliefs);
    const verdict = document.createElement("span");
    const target = truth(current, glimpse);
    const right = best === target;
    verdict.className = right ? "right" : "wrong";
    verdict.textContent = `${right ? "✓" : "✗"} believes ${data.class_names[best]} (${perCent(beliefs[best])})`;
    const place = each ? `symbol ${symbol(glimpse) + 1}, ` : "";
    const soFar = each ? `, read so far: ${named(current.read.slice(0, symbol(glimpse + 1)))}` : "";
    find("status").replaceChildren(
      `Glimpse ${glimpse + 1} of ${steps()}: ${place}${trueName(target)}, `, verdict,
      `${soFar}, ${rewardWords(current.reward)}`,
    );
  }

  function draw() {
    if (!strips.length) return; // the first image is not decoded yet
    const current = data.episodes[episode];
    slider.value = String(glimpse + 1);
    slider.setAttribute("aria-valuetext", `${glimpse + 1} of ${steps()}`);
    find("glimpse-number").textContent = `${glimpse + 1} of ${steps()}`;
    drawOverlay(current);
    drawSeen(find("now"), current, glimpse);
    drawSeen(find("so-far"), current, 0);
    drawPatches(find("patches"), current);
    drawBelief(current);
    drawRewards(current);
    drawStatus(current);
    drawReading(current);
  }

  function move(step) {
    glimpse = Math.min(Math.max(step, 0), steps() - 1);
    draw();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    find("play").textContent = "Play";
    find("play").setAttribute("aria-pressed", "false");
  }

  async function choose(index) {
    wanted = index;
    const current = data.episodes[index];
    const loaded = current.patches.map((uri) => Object.assign(new Image(), { src: uri }));
    await Promise.all(loaded.map((image) => image.decode()));
    if (wanted !== index) return; // another image was chosen while this one was being decoded
    episode = index;
    strips = loaded;
    choice.value = String(index);
    slider.max = String(steps());
    find("image").src = current.image;
    find("image").alt = `Image ${index + 1}, true ${each ? `symbols ${named(current.label)}` : `class ${data.class_names[current.label]}`}`;
    find("thumbnails").childNodes.forEach((button, place) => button.setAttribute("aria-pressed", String(place === index)));
    move(glimpse);
  }

  data.episodes.forEach((current, index) => {
    const last = each ? current.read : [likeliest(current.probabilities[current.probabilities.length - 1])];
    const [label, said] = [[current.label].flat(), last].map(inside);
    const [good, bad] = each ? ["read right", "read as"] : ["recognised", "taken for"];
    const text = `${index + 1}: true ${named(label)}, ${label.join() === said.join() ? good : `${bad} ${named(said)}`}`;
    choice.add(new Option(text, String(index)));
    const button = document.createElement("button");
    button.type = "button";
    button.title = text;
    button.append(Object.assign(new Image(), { src: current.image, alt: text }));
    button.addEventListener("click", () => choose(index));
    find("thumbnails").append(button);
  });
  choice.addEventListener("change", () => choose(Number(choice.value)));
  slider.addEventListener("input", () => { stop(); move(Number(slider.value) - 1); });
  find("all-boxes").addEventListener("change", draw);
  find("previous").addEventListener("click", () => { stop(); move(glimpse - 1); });
  find("next").addEventListener("click", () => { stop(); move(glimpse + 1); });
  find("play").addEventListener("click", () => {
    if (timer !== null) return stop();
    find("play").textContent = "Pause";
    find("play").setAttribute("aria-pressed", "true");
    timer = setInterval(() => move((glimpse + 1) % steps()), 1000);
  });
  document.addEventListener("keydown", (event) => {
    const ahead = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!ahead || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    // These have uses of their own for the keys.
    if (event.target !== slider && event.target.closest("input:not([type=checkbox]), select, .scroll")) return;
    const frame = viewer.getBoundingClientRect();
    if (frame.bottom < 0 || frame.top > innerHeight) return;
    event.preventDefault();
    stop();
    move(glimpse + ahead);
  });
  viewer.hidden = false;
  choose(0);
})();
