// Copy buttons, local times and other conveniences. The pages work without this script.
"use strict";

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const status = document.getElementById("copied");
    try {
      // The clipboard is available over TLS or on localhost only.
      await navigator.clipboard.writeText(source.textContent);
      status.textContent = "Copied.";
      button.firstChild.textContent = "Copied";
      setTimeout(() => { button.firstChild.textContent = "Copy"; }, 2000);
    } catch {
      getSelection().selectAllChildren(source);
      status.textContent = "Selected. Copy it with your keyboard.";
      button.firstChild.textContent = "Selected";
    }
  });
}

// The code of the one-time link follows '#', which browsers do not send, so no log has it.
for (const input of document.querySelectorAll("input[data-from-hash]")) {
  if (location.hash.length > 1) {
    input.value = location.hash.slice(1);
    history.replaceState(null, "", location.pathname);
  }
}

for (const input of document.querySelectorAll("input[data-chooses]")) {
  input.addEventListener("input", () => {
    const choice = `input[type="radio"][value="${input.dataset.chooses}"]`;
    input.form.querySelector(choice).checked = true;
  });
}

// The server writes times in UTC; the reader gets those of the browser's zone.
const shortZone = new Intl.DateTimeFormat("en", { timeZoneName: "short" });

function localTime(moment) {
  const two = (number) => String(number).padStart(2, "0");
  const day = `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
  const zone = shortZone.formatToParts(moment).find((part) => part.type === "timeZoneName");
  return `${day} ${two(moment.getHours())}:${two(moment.getMinutes())} ${zone.value}`;
}

for (const time of document.querySelectorAll("time[datetime]")) {
  const text = localTime(new Date(time.dateTime));
  if (time.dataset.local === undefined) {
    time.title = text;
  } else {
    time.textContent = text;
  }
}

const zone = shortZone.resolvedOptions().timeZone;
for (const name of document.querySelectorAll("[data-zone]")) {
  name.textContent = zone;
}
// The days of the usage page begin at midnight of this zone.
document.cookie = `authz_zone=${zone}; path=/ui; max-age=31536000; samesite=lax`;

// One bar of a chart is in the order of the Tab key; the arrow keys move to the others.
for (const chart of document.querySelectorAll("svg[data-bars]")) {
  const bars = [...chart.querySelectorAll("[tabindex]")];
  chart.addEventListener("keydown", (event) => {
    const here = bars.indexOf(document.activeElement);
    const places = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: bars.length - 1 };
    const next = bars[places[event.key]];
    if (here < 0 || next === undefined) {
      return;
    }
    event.preventDefault();
    bars[here].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
}

for (const menu of document.querySelectorAll("details.menu")) {
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) {
      menu.open = false;
    }
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
}
