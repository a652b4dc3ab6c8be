// The receptive-field explorer. A stack is a list of [kernel, stride, dilation]; the address carries it as #3,3s2,3s2d2.

const IMAGE = 32; // pixels a side
const LIMIT = 44; // what the challenge asks for
const MOST = 24; // layers
const CHOICES = { kernel: [1, 3, 5, 7, 9, 11], stride: [1, 2, 3, 4], dilation: [1, 2, 3, 4, 6, 8] };
const START = "3,3s2,3s2,3d2,3";

// What a unit sees after each layer: {jump, rf, side of the map}.
function receptiveFields(stack) {
  let jump = 1, rf = 1, side = IMAGE;
  return stack.map(([kernel, stride, dilation]) => {
    rf += dilation * (kernel - 1) * jump;
    jump *= stride;
    side = Math.ceil(side / stride);
    return { jump, rf, side };
  });
}

// The stack that a text names, or null where it names none.
function parse(text) {
  const parts = text.split(",").map((part) => /^(\d+)(?:s(\d+))?(?:d(\d+))?$/.exec(part));
  if (parts.length > MOST || parts.includes(null)) return null;
  const stack = parts.map(([, kernel, stride = 1, dilation = 1]) => [+kernel, +stride, +dilation]);
  const lists = Object.values(CHOICES);
  return stack.every((layer) => layer.every((value, i) => lists[i].includes(value))) ? stack : null;
}

function format(stack) {
  return stack.map(([k, s, d]) => k + (s > 1 ? "s" + s : "") + (d > 1 ? "d" + d : "")).join(",");
}

const page = document.getElementById("explorer");
const words = document.getElementById("explorer-words");
let stack = [];

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function select(row, column, name) {
  const options = CHOICES[name].map((value) => new Option(value, value, false, value === stack[row][column]));
  const made = element("select", { ariaLabel: `${name} of layer ${row + 1}` }, ...options);
  made.addEventListener("change", () => { stack[row][column] = +made.value; show(); });
  return element("td", {}, made);
}

function remove(row) {
  const button = element("button", { type: "button", textContent: "✕", ariaLabel: `remove layer ${row + 1}` });
  button.disabled = stack.length === 1;
  button.addEventListener("click", () => { stack.splice(row, 1); rebuild(); page.querySelector("#explorer-add").focus(); });
  return element("td", {}, button);
}

// Write the table anew, which is needed where a layer comes or goes.
function rebuild() {
  const rows = stack.map((_, row) => element("tr", {},
    element("th", { scope: "row", textContent: row + 1 }),
    ...Object.keys(CHOICES).map((name, column) => select(row, column, name)),
    ...["jump", "rf", "side"].map((name) => element("td", { className: name })), remove(row)));
  page.querySelector("tbody").replaceChildren(...rows);
  page.querySelector("#explorer-add").disabled = stack.length === MOST;
  show();
}

// Fill in what follows from the stack: numbers, words, drawings, and the address.
function show() {
  const fields = receptiveFields(stack), { rf, jump, side } = fields[fields.length - 1];
  page.querySelectorAll("tbody tr").forEach((row, i) => {
    for (const name of ["jump", "rf", "side"]) row.querySelector("." + name).textContent = fields[i][name];
  });
  const part = rf < IMAGE ? "a part of the image" : rf < 2 * IMAGE - 1 ? "all of the image from the middle, not from a corner" : "all of the image from anywhere";
  const limit = rf > LIMIT ? `more than the challenge's ${LIMIT}` : `not more than the challenge's ${LIMIT}`;
  words.textContent = `A unit of the last map sees ${rf} x ${rf} pixels: ${part}, and ${limit}. The map has ${side} x ${side} units, ${jump} pixels apart.`;
  const canvas = page.querySelector("canvas"), svg = page.querySelector("svg");
  drawWindows(canvas, fields.map((field) => field.rf));
  drawGrowth(svg, fields.map((field) => field.rf));
  canvas.ariaLabel = `A picture of ${IMAGE} pixels with a window of ${rf} pixels around its middle.`;
  svg.ariaLabel = `The window's side after each layer: ${fields.map((field) => field.rf).join(", ")}.`;
  page.querySelector("#explorer-link").href = "#" + format(stack);
  history.replaceState(null, "", "#" + format(stack));
}

// A boat at sea: 32x32 pixels of our own, with the noise of a photograph.
function picture() {
  const small = element("canvas", { width: IMAGE, height: IMAGE }), pen = small.getContext("2d");
  let noise = 7;
  for (let y = 0; y < IMAGE; y++) for (let x = 0; x < IMAGE; x++) {
    const sea = y > 20 + Math.sin(x / 3), sun = Math.hypot(x - 25, y - 7) < 3.5;
    const hull = y > 18 && y < 23 && Math.abs(x - 14) < 25 - y;
    const sail = y > 5 && y < 18 && x > 14 && x < 14 + (y - 4) * 0.6, front = y > 8 && y < 18 && x < 13 && x > 13 - (y - 7) * 0.5;
    const colour = hull ? [122, 52, 40] : sail ? [244, 238, 222] : front ? [222, 120, 84] : x === 13 && y > 3 && y < 19 ? [70, 50, 40]
      : sea ? [30 + y, 84 + y, 130 + (y % 3) * 8] : sun ? [255, 226, 140] : [112 + 4 * y, 168 + 3 * y, 226];
    noise = (noise * 16807) % 2147483647;
    pen.fillStyle = `rgb(${colour.map((value) => value + (noise % 17) - 8).join(",")})`;
    pen.fillRect(x, y, 1, 1);
  }
  return small;
}
let image = picture();

// Show the middle square of the reader's own picture, at the size that a network sees; it stays on this machine.
async function takePicture(file) {
  try {
    const given = await createImageBitmap(file), side = Math.min(given.width, given.height);
    image = element("canvas", { width: IMAGE, height: IMAGE });
    const pen = image.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(given, (given.width - side) / 2, (given.height - side) / 2, side, side, 0, 0, IMAGE, IMAGE);
    show();
  } catch { words.textContent = `${file.name} is no picture that this browser can read: give a PNG, JPEG or WebP file.`; }
}

function drawWindows(canvas, sides) {
  const pen = canvas.getContext("2d"), last = sides[sides.length - 1], full = canvas.width;
  const scale = full / Math.max(IMAGE + 8, last + 4), middle = full / 2, half = (IMAGE / 2) * scale;
  pen.fillStyle = "#6b6f76";
  pen.fillRect(0, 0, full, full);
  pen.strokeStyle = "#7d828a";
  pen.lineWidth = 4;
  for (let at = -full; at < full; at += 16) { pen.beginPath(); pen.moveTo(at, full); pen.lineTo(at + full, 0); pen.stroke(); }
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image, middle - half, middle - half, 2 * half, 2 * half);
  sides.forEach((side, i) => {
    const isLast = i === sides.length - 1, edge = side * scale;
    for (const [colour, width] of isLast ? [["#000", 12], ["#fff", 6]] : [["#000", 3], ["#ffd24a", 1.5]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.strokeRect(middle - edge / 2, middle - edge / 2, edge, edge);
    }
  });
}

function drawGrowth(svg, sides) {
  const top = Math.max(IMAGE + 18, ...sides) * 1.08, x = (i) => 44 + (262 * i) / Math.max(sides.length, 2), y = (v) => 284 - (270 * v) / top;
  const line = (value, text) => `<path class="level" d="M44 ${y(value)}H312"/><text x="48" y="${y(value) - 4}">${text}</text>`;
  const points = [1, ...sides].map((side, i) => [x(i), y(side)]);
  const steps = Math.ceil(sides.length / 8), ticks = points.map(([at], i) => (i % steps ? "" : `<text x="${at}" y="300" text-anchor="middle">${i}</text>`));
  svg.innerHTML = `<path class="axis" d="M44 10V284H312"/>${line(IMAGE, "the image: 32")}${line(LIMIT, "the challenge: 44")}
    <path class="curve" d="M${points.map((point) => point.join(" ")).join("L")}"/>
    ${points.map(([at, height]) => `<circle cx="${at}" cy="${height}" r="3.5"/>`).join("")}${ticks.join("")}
    <text x="178" y="316" text-anchor="middle">layers</text><text x="38" y="${y(sides[sides.length - 1]) + 4}" text-anchor="end">${sides[sides.length - 1]}</text>`;
}

// What the address says behind its #, as it stands where it is no escaped text.
function hash() {
  try { return decodeURIComponent(location.hash.slice(1)); } catch { return location.hash.slice(1); }
}

// Take the stack of the address; a heading's anchor is none and changes nothing.
function takeAddress() {
  const text = hash(), found = parse(text);
  if (!found && stack.length && !/^\d/.test(text)) return;
  stack = found || parse(START);
  rebuild();
  if (!found && text) words.textContent = `${text} is no stack of this page: give up to ${MOST} layers such as 3,3s2,3s2d2, with kernel ${CHOICES.kernel.join(", ")}, stride ${CHOICES.stride.join(", ")} and dilation ${CHOICES.dilation.join(", ")}.`;
}

page.querySelector("#explorer-add").addEventListener("click", () => { stack.push([3, 1, 1]); rebuild(); });
page.querySelector("#explorer-picture").addEventListener("change", (event) => { if (event.target.files[0]) takePicture(event.target.files[0]); });
window.addEventListener("hashchange", takeAddress);
takeAddress();
