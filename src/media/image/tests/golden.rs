//! Each operation on one photo-like picture, known again by what it looks like: a hash that small changes of encoders and
//! resamplers do not move, but another place, turn, colour or shape does.

use turbojpeg::Subsamp;

use super::samples::{jpeg, scene};
use super::*;

/// Bits that may differ.
const TOLERANCE: u32 = 3;

/// Whether each of 8×8 places is lighter than its right neighbour, and the mean colour's highest four bits.
fn hash(picture: &Raster) -> (u64, [u8; 3]) {
    let flat = picture.clone().flattened([255; 3]);
    let small = resize(flat.view(), Rect::whole(flat.size), Size::new(9, 8)).unwrap();
    let luma: Vec<u32> = small
        .data
        .as_chunks::<3>()
        .0
        .iter()
        .map(|&[r, g, b]| 299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b))
        .collect();
    let mut bits = 0;
    for row in luma.chunks(9) {
        for pair in row.windows(2) {
            bits = bits << 1 | u64::from(pair[0] > pair[1] + 2000);
        }
    }
    let mean = [0, 1, 2].map(|c| {
        let sum: u32 = small.data.iter().skip(c).step_by(3).map(|v| u32::from(*v)).sum();
        (sum / 72) as u8
    });
    (bits, mean)
}

#[test]
fn operations_look_as_they_did() {
    let source = jpeg(&scene(640, 427), Subsamp::Sub2x2, true);
    let mut wrong = String::new();
    for (query, size, bits, mean) in GOLDEN {
        let out = variant(&source, query);
        let (got, colour) = hash(&out);
        let near = colour.iter().zip(mean).all(|(a, b)| a.abs_diff(*b) <= 4);
        if (out.size.width, out.size.height) != *size || (got ^ bits).count_ones() > TOLERANCE || !near {
            wrong += &format!(
                "    (\"{query}\", ({}, {}), 0x{got:016x}, {colour:?}),\n",
                out.size.width, out.size.height
            );
        }
    }
    assert!(wrong.is_empty(), "now:\n{wrong}");
}

type Golden = (&'static str, (u32, u32), u64, [u8; 3]);

const GOLDEN: &[Golden] = &[
    ("w=200", (200, 133), 0x8080_8003_0303_0204, [138, 118, 97]),
    ("h=100", (150, 100), 0x8080_8003_0303_020c, [139, 118, 97]),
    ("w=200&h=200", (200, 133), 0x8080_8003_0303_0204, [138, 118, 97]),
    ("w=2000", (640, 427), 0x8090_8003_0303_0204, [139, 118, 97]),
    ("w=200&h=200&fit=max", (200, 133), 0x8080_8003_0303_0204, [138, 118, 97]),
    ("w=200&h=200&fit=crop", (200, 200), 0x0000_0001_0201_0104, [144, 129, 100]),
    ("w=200&h=200&fit=crop&crop=left", (200, 200), 0x4848_4900_0004_0001, [112, 107, 90]),
    ("w=200&h=200&fit=crop&crop=right,bottom", (200, 200), 0x0000_2006_9307_0410, [169, 136, 105]),
    ("w=300&h=100&fit=crop&crop=top", (300, 100), 0x8080_8080_8000_0203, [121, 130, 91]),
    ("w=200&h=200&fit=crop&crop=entropy", (200, 200), 0x0000_1003_0103_0308, [159, 136, 103]),
    ("w=200&h=200&fit=crop&crop=attention", (200, 200), 0x0000_2006_9307_0410, [169, 136, 105]),
    ("w=200&h=200&fit=crop&fp-x=0.2&fp-y=0.1", (200, 200), 0x4848_4900_0004_0001, [112, 107, 90]),
    ("w=200&h=200&fit=fill&bg=336699", (200, 200), 0x4080_8003_0303_0800, [109, 113, 116]),
    ("w=200&h=200&fit=scale", (200, 200), 0x9080_8003_2303_020c, [139, 118, 97]),
    ("w=100&dpr=2", (200, 133), 0x8080_8003_0303_0204, [138, 118, 97]),
    ("rect=320,100,300,300&w=150", (150, 150), 0x0080_0e27_430e_8c20, [189, 146, 129]),
    ("w=200&rot=90", (200, 300), 0xf7e7_c7e7_fdfe_0e0e, [139, 118, 97]),
    ("w=200&flip=h", (200, 133), 0xf6f6_e63f_3b3b_b748, [138, 118, 97]),
    ("w=200&orient=180", (200, 133), 0x48b7_3b3b_37c6_f6f6, [139, 118, 97]),
    ("w=200&blur=200", (200, 133), 0x0000_0003_0303_0300, [139, 118, 97]),
    ("w=200&sharp=80", (200, 133), 0x8080_8003_0303_020c, [139, 118, 97]),
    ("w=200&bri=30", (200, 133), 0x8080_8003_0303_0200, [206, 189, 172]),
    ("w=200&con=-40", (200, 133), 0x8080_0003_0303_0200, [134, 122, 109]),
    ("w=200&sat=-100", (200, 133), 0x9090_8003_2303_020c, [121, 121, 121]),
    ("w=200&mono=996633", (200, 133), 0x9090_8803_2303_120c, [138, 103, 67]),
    ("w=200&pad=20&bg=fff", (200, 147), 0x8080_8082_8686_c880, [186, 174, 162]),
    ("w=200&border-radius=max&bg=000", (200, 133), 0x1301_0103_0303_0307, [122, 108, 87]),
    ("w=200&q=20", (200, 133), 0x9080_8803_0303_0204, [138, 118, 97]),
    ("w=200&fm=jpg", (200, 133), 0x9080_8003_0303_0208, [139, 118, 97]),
    ("w=200&fm=png8", (200, 133), 0x8080_8003_0303_0204, [139, 118, 97]),
    ("w=200&fm=avif", (200, 133), 0x8080_8003_0303_0204, [138, 118, 97]),
    ("w=200&fm=gif", (200, 133), 0x8080_8003_0303_0204, [139, 118, 97]),
    ("w=200&lossless=1", (200, 133), 0x9080_8003_0303_020c, [139, 118, 97]),
];
