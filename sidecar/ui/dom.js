// Elements. Content is set as text, never as markup.

export const $ = (id) => document.getElementById(id);

export function el(tag, className, content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (content != null) made.textContent = content;
  return made;
}

/** With children: elements, or texts. */
export function box(tag, className, ...children) {
  const made = el(tag, className);
  made.append(...children.filter((child) => child != null && child !== ''));
  return made;
}

export function button(className, content, act) {
  const made = el('button', `button ${className}`, content);
  made.type = 'button';
  if (act) made.addEventListener('click', act);
  return made;
}

export function link(href, content, className) {
  const made = el('a', className, content);
  made.href = href;
  return made;
}

let labels = 0;

/** A control under its label, with a place for what is wrong with it. */
export function field(label, control, hint) {
  control.id ||= `field-${++labels}`;
  const name = el('label', '', label);
  name.htmlFor = control.id;
  const made = box('div', 'field', name, control);
  if (hint) {
    const note = el('p', 'quiet', hint);
    note.id = `${control.id}-hint`;
    control.setAttribute('aria-describedby', note.id);
    made.append(note);
  }
  return made;
}

export function input(type, attributes = {}) {
  const made = el('input');
  made.type = type;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** options: [[text, value]] */
export function select(options) {
  const made = el('select');
  for (const [name, value] of options) {
    const option = el('option', '', name);
    option.value = value;
    made.append(option);
  }
  return made;
}

export const dot = (state) => el('span', `dot ${state ? `is-${state}` : ''}`);

/** In place of something: what it is, and what can be done. */
export function nothing(title, detail, ...more) {
  return box('div', 'nothing', el('p', 'nothing-title', title), detail ? el('p', 'quiet', detail) : null, ...more);
}

/**
 * columns: [{title, className?, label?}], rows: [[cell]], a cell being a text, an element or nothing. On a narrow screen each row
 * becomes a card, with the column's `label` before what stands in it.
 */
export function table(caption, columns, rows) {
  const made = el('table', 'table');
  const head = el('tr');
  for (const { title, className } of columns) {
    const cell = el('th', className, title);
    cell.scope = 'col';
    // What needs no heading for the eye needs one for the ear.
    if (!title) cell.append(el('span', 'hidden', 'more'));
    head.append(cell);
  }
  const body = el('tbody');
  for (const cells of rows) {
    const row = el('tr');
    cells.forEach((content, at) => {
      const cell = el('td', columns[at].className);
      if (content != null && content !== '') cell.append(content);
      const label = columns[at].label ?? columns[at].title.toLowerCase();
      if (label) cell.dataset.label = label;
      row.append(cell);
    });
    body.append(row);
  }
  made.append(el('caption', 'hidden', caption), box('thead', '', head), body);
  const frame = box('div', 'table-frame', made);
  // What scrolls can be scrolled by keys.
  frame.tabIndex = 0;
  frame.setAttribute('role', 'region');
  frame.setAttribute('aria-label', caption);
  return frame;
}

/** Where an element is below `root`, as child numbers. */
function pathTo(root, target) {
  const path = [];
  for (let at = target; at !== root; at = at.parentNode) path.unshift([...at.parentNode.children].indexOf(at));
  return path;
}

/** Puts the new in place of the old; the focus stays where it was, and so does what was scrolled. */
export function renew(root, ...children) {
  const next = box('div', '', ...children.filter(Boolean));
  if (next.innerHTML === root.innerHTML) return;
  const focused = root.contains(document.activeElement) && document.activeElement !== root ? document.activeElement : null;
  const path = focused && pathTo(root, focused);
  const scrolled = root.querySelector('.table-frame')?.scrollLeft;
  root.replaceChildren(...next.childNodes);
  if (scrolled) root.querySelector('.table-frame')?.scrollTo({ left: scrolled });
  const again = path?.reduce((at, number) => at?.children[number], root);
  if (again?.tagName === focused?.tagName) again?.focus?.({ preventScroll: true });
}

/** Asks before something that cannot be undone. */
export function confirm(title, text, verb) {
  return new Promise((resolve) => {
    const dialog = el('dialog', 'dialog');
    const answer = (value) => () => { dialog.close(); resolve(value); };
    const heading = el('h2', '', title);
    heading.id = 'dialog-title';
    dialog.setAttribute('aria-labelledby', heading.id);
    dialog.append(heading, el('p', '', text), box('div', 'actions', button('', 'Cancel', answer(false)), button('is-danger', verb, answer(true))));
    dialog.addEventListener('cancel', () => resolve(false));
    dialog.addEventListener('close', () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Says how something went, to everybody. */
export function announce(text, state = 'good') {
  const note = box('p', `toast is-${state}`, text);
  $('toasts').replaceChildren(note);
  setTimeout(() => note.remove(), 8_000);
}
