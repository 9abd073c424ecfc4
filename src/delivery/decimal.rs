//! Numbers in header fields. A hit writes several; the machinery of `format!` would cost it more than all else they say.

/// Appends a number.
pub fn push(text: &mut String, number: i64) {
    if number < 0 {
        text.push('-');
    }
    push_digits(text, number.unsigned_abs(), 1);
}

/// Appends microseconds as milliseconds with three decimal places.
pub fn push_millis(text: &mut String, micros: u64) {
    push_digits(text, micros / 1000, 1);
    text.push('.');
    push_digits(text, micros % 1000, 3);
}

fn push_digits(text: &mut String, number: u64, least: usize) {
    let mut digits = [b'0'; 20];
    let (mut left, mut start) = (number, digits.len());
    while left > 0 || digits.len() - start < least {
        start -= 1;
        // The remainder is a single digit.
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    text.push_str(std::str::from_utf8(&digits[start..]).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_format_writes_them() {
        for number in [0, 7, 10, -1, 1_234_567, i64::MAX, i64::MIN] {
            let mut text = String::new();
            push(&mut text, number);
            assert_eq!(text, number.to_string());
        }
        for (micros, expected) in
            [(0, "0.000"), (7, "0.007"), (69, "0.069"), (1_500, "1.500"), (12_034_050, "12034.050")]
        {
            let mut text = String::new();
            push_millis(&mut text, micros);
            assert_eq!(text, expected);
        }
    }
}
