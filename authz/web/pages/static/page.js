// Copy buttons and form conveniences. The pages work without this script.
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
