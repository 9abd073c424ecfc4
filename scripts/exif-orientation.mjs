// Writes a JPEG with an EXIF orientation: exif-orientation.mjs IN OUT 1…8.
// The smallest APP1 segment there is: a TIFF header and one IFD with one entry (tag 0x0112).
import { readFileSync, writeFileSync } from 'node:fs';

const [input, output, orientation] = process.argv.slice(2);
const jpeg = readFileSync(input);
if (jpeg.readUInt16BE(0) !== 0xffd8) throw new Error(`${input} is not a JPEG`);

const tiff = Buffer.alloc(26);
tiff.write('MM', 0, 'latin1');
tiff.writeUInt16BE(42, 2);
tiff.writeUInt32BE(8, 4); // where the IFD starts
tiff.writeUInt16BE(1, 8); // entries
tiff.writeUInt16BE(0x0112, 10);
tiff.writeUInt16BE(3, 12); // SHORT
tiff.writeUInt32BE(1, 14);
tiff.writeUInt16BE(Number(orientation), 18);

const payload = Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), tiff]);
const head = Buffer.from([0xff, 0xe1, 0, 0]);
head.writeUInt16BE(payload.length + 2, 2);
writeFileSync(output, Buffer.concat([jpeg.subarray(0, 2), head, payload, jpeg.subarray(2)]));
