// Events per second over the last minutes, one bar a second, by code.

const chart = {
  SECONDS: 180,
  canvas: byId("chart"),
  // Second since 1970 to the count of each code, in the order of CODES.
  seconds: new Map(),

  count(code) {
    const second = Math.floor(Date.now() / 1000);
    if (!this.seconds.has(second)) {
      this.forget(second);
      this.seconds.set(second, CODES.map(() => 0));
    }
    const place = CODES.findIndex((known) => known.code === code);
    if (place >= 0) this.seconds.get(second)[place] += 1;
  },

  forget(now) {
    for (const second of this.seconds.keys()) if (second <= now - this.SECONDS) this.seconds.delete(second);
  },

  draw() {
    const now = Math.floor(Date.now() / 1000);
    this.forget(now);
    const totals = [...this.seconds.values()].map((counts) => counts.reduce((sum, count) => sum + count, 0));
    const most = Math.max(0, ...totals);
    const last = this.seconds.get(now - 1) ?? [];
    setText(byId("per-second"), last.reduce((sum, count) => sum + count, 0).toLocaleString());
    this.canvas.setAttribute("aria-label", `Events per second over the last three minutes; ${most} at most`);

    const { width, height } = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(this.canvas);
    const colours = CODES.map(({ code }) => style.getPropertyValue(`--${code}`));
    const top = 14;
    const bottom = height - 14;
    const step = width / this.SECONDS;
    context.fillStyle = style.getPropertyValue("--line");
    context.fillRect(0, bottom, width, 1);
    for (const [second, counts] of this.seconds) {
      const x = width - (now - second + 1) * step;
      let y = bottom;
      counts.forEach((count, place) => {
        if (count === 0) return;
        const size = Math.max(1.5, (count / most) * (bottom - top));
        context.fillStyle = colours[place];
        context.fillRect(x, y - size, Math.max(step - 0.5, 1.5), size);
        y -= size;
      });
    }
    context.fillStyle = style.getPropertyValue("--quiet");
    context.font = `11px ${style.fontFamily}`;
    context.textBaseline = "top";
    context.fillText(most === 0 ? "no events in the last 3 minutes" : `${most.toLocaleString()} a second at most`, 0, 0);
    context.textBaseline = "bottom";
    context.fillText("3 min ago", 0, height);
    context.textAlign = "right";
    context.fillText("now", width, height);
  },
};

setInterval(() => document.hidden || chart.draw(), 1000);
addEventListener("resize", () => chart.draw());
document.addEventListener("visibilitychange", () => document.hidden || chart.draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.draw());
chart.draw();
