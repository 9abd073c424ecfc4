// Elements. Content is set as text, never as markup.

export function el(tag, className, content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (content != null) made.textContent = content;
  return made;
}
