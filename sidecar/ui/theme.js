// Before the first paint: the colours that were chosen. Without a choice those of the system.

try {
  const chosen = localStorage.getItem('theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is forbidden; the system's colours do.
}
