// Sets the chosen colours before anything is painted; main.js works the button. Without a choice the system's are taken.
(() => {
  try {
    const chosen = localStorage.getItem("tidegate-colours");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // A browser that keeps nothing has the system's colours.
  }
})();
