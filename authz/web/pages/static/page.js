// The few things that need a script; without it a person selects and types by hand.
"use strict";

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const said = document.getElementById("copied");
    try {
      // Only where the page came over TLS or from this machine.
      await navigator.clipboard.writeText(source.textContent);
      said.textContent = "Copied.";
      button.firstChild.textContent = "Copied";
      setTimeout(() => { button.firstChild.textContent = "Copy"; }, 2000);
    } catch {
      getSelection().selectAllChildren(source);
      said.textContent = "Selected: copy it with your keyboard.";
      button.firstChild.textContent = "Selected";
    }
  });
}

// The code of the one-time link is behind '#', so that it is in no log.
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
