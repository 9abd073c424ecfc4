// Holds the Grafana dashboards against Grafana's own types: what they do not know, or would have otherwise, does not compile.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import ts from 'typescript';

import { NAMES } from '../../dashboards/build.mjs';
import { root } from '../processes.mjs';

/** Enumerations are words in JSON. What panels of one kind have to set is in types of their own. */
const HEAD = `
import type { Dashboard, Panel, RowPanel } from './node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import type { Options as StatOptions } from './node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type { FieldConfig as SeriesConfig, Options as SeriesOptions } from './node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';
type Words<T> = T extends string ? \`\${T}\` : T extends (infer E)[] ? Words<E>[] : T extends object ? { [K in keyof T]: Words<T[K]> } : T;
type Target = { refId: string; expr: string; legendFormat: string; editorMode: 'code' | 'builder'; range: boolean; datasource: { type: 'prometheus'; uid: string } };
type Data = Omit<Words<Panel>, 'targets' | 'options'> & { targets: Target[] };
type Stat = Data & { type: 'stat'; options: Words<StatOptions> };
type Series = Data & { type: 'timeseries'; options: Words<SeriesOptions>; fieldConfig: { defaults: { custom: Words<SeriesConfig> } } };
type Board = Omit<Words<Dashboard>, 'panels' | 'annotations'> & { panels: unknown[]; annotations: object };
`;

function complaints(source) {
  const options = { strict: true, noEmit: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, types: [] };
  const host = ts.createCompilerHost(options);
  const file = join(import.meta.dirname, 'checked.ts');
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (name) => name === file || fileExists(name);
  host.readFile = (name) => (name === file ? source : readFile(name));
  host.getSourceFile = (name, ...rest) => (name === file ? ts.createSourceFile(name, source, options.target) : getSourceFile(name, ...rest));
  const program = ts.createProgram([file], options, host);
  return ts.getPreEmitDiagnostics(program).map((found) => `line ${found.file?.getLineAndCharacterOfPosition(found.start).line}: ${ts.flattenDiagnosticMessageText(found.messageText, '\n')}`);
}

function checked(board) {
  const types = { row: 'Words<RowPanel>', stat: 'Stat', timeseries: 'Series' };
  const panels = board.panels.map((panel, at) => `const panel${at}: ${types[panel.type]} = ${JSON.stringify(panel)};`);
  return `${HEAD}const board: Board = ${JSON.stringify({ ...board, panels: [] })};\n${panels.join('\n')}\nexport { board };\n`;
}

for (const name of NAMES) {
  test(`${name} fits Grafana's types`, () => {
    const board = JSON.parse(readFileSync(join(root, 'dashboards', `${name}.json`), 'utf8'));
    assert.deepEqual(complaints(checked(board)), []);
  });
}

test('what does not fit is seen', () => {
  const board = JSON.parse(readFileSync(join(root, 'dashboards', 'overview.json'), 'utf8'));
  const spoil = (change) => { const copy = structuredClone(board); change(copy); return complaints(checked(copy)).length; };
  assert.ok(spoil((copy) => { copy.schemaVersion = '39'; }));
  assert.ok(spoil((copy) => { copy.panels[0].gridPos.width = 4; }));
  assert.ok(spoil((copy) => { copy.panels[7].fieldConfig.defaults.custom.drawStyle = 'lines'; }));
});
