// What the picture does under the pointer: details of what is pointed at, the time, and the fate of one replica. Without it
// the page shows the same; browsers show the titles themselves.
(() => {
  "use strict";
  const root = document.documentElement;
  const plot = document.getElementById("plot");
  const scroll = document.getElementById("scroll");
  const tip = document.getElementById("tip");
  const now = document.getElementById("now");

  // The time at a share of the width; the inverse of the scale that placed everything.
  const mended = Number(plot.dataset.mendedUs);
  const end = Number(plot.dataset.endUs);
  const mendedAt = Number(plot.dataset.mendedAt) / 100;
  const timeAt = (share) =>
    share <= mendedAt ? (share / mendedAt) * mended : mended + ((share - mendedAt) / (1 - mendedAt)) * (end - mended);

  // A title of its own would cover this one.
  const details = (element) => {
    const title = element.querySelector(":scope > title");
    if (title) {
      element.dataset.tip = title.textContent;
      title.remove();
    }
    return element.dataset.tip;
  };
  const pointedAt = (event) => {
    for (let element = event.target; element && element !== plot; element = element.parentNode) {
      const text = details(element);
      if (text) return [element, text];
    }
    return [null, ""];
  };
  const show = (event) => {
    const box = plot.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    now.setAttribute("x1", share * 100 + "%");
    now.setAttribute("x2", share * 100 + "%");
    now.setAttribute("visibility", "visible");
    const [element, text] = pointedAt(event);
    const time = (timeAt(share) / 1e6).toFixed(2) + " s";
    tip.textContent = text ? text : time;
    tip.hidden = false;
    const right = event.clientX + 16 + tip.offsetWidth > window.innerWidth;
    tip.style.left = Math.max(4, right ? event.clientX - 14 - tip.offsetWidth : event.clientX + 16) + "px";
    tip.style.top = Math.max(4, Math.min(event.clientY + 14, window.innerHeight - tip.offsetHeight - 6)) + "px";
    const slot = element && element.dataset.slot;
    plot.classList.toggle("same", Boolean(slot));
    for (const pod of plot.querySelectorAll(".pod.it")) pod.classList.remove("it");
    if (slot) for (const pod of plot.querySelectorAll(".pod")) pod.classList.toggle("it", pod.dataset.slot === slot);
  };
  plot.addEventListener("pointermove", show);
  plot.addEventListener("pointerleave", () => {
    tip.hidden = true;
    now.setAttribute("visibility", "hidden");
    plot.classList.remove("same");
  });

  const buttons = [...document.querySelectorAll("[data-zoom]")];
  const stretch = (zoom) => {
    const middle = (scroll.scrollLeft + scroll.clientWidth / 2) / plot.getBoundingClientRect().width;
    root.style.setProperty("--zoom", zoom);
    scroll.scrollLeft = middle * plot.getBoundingClientRect().width - scroll.clientWidth / 2;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.zoom === zoom));
  };
  for (const button of buttons) button.addEventListener("click", () => stretch(button.dataset.zoom));
  stretch("1");
  root.dataset.ready = "yes";
})();
