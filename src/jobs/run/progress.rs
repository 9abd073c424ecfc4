//! What `-progress` says: lines of `name=value`.

/// Lines as they come, in pieces.
#[derive(Debug, Default)]
pub struct Lines {
    rest: String,
}

/// Longer lines are none.
const MAX_LINE: usize = 1024;

impl Lines {
    /// The latest time of the output that is told, in seconds.
    pub fn see(&mut self, bytes: &[u8]) -> Option<f64> {
        self.rest.push_str(&String::from_utf8_lossy(bytes));
        let (whole, rest) = self.rest.rsplit_once('\n').unwrap_or(("", &self.rest));
        // `out_time_ms` counts the same, whatever its name says.
        let times = whole.lines().filter_map(|line| line.strip_prefix("out_time_us="));
        // Before the first picture it is N/A.
        let last = times.filter_map(|time| time.trim().parse::<i64>().ok()).next_back();
        let rest = if rest.len() > MAX_LINE { String::new() } else { rest.to_owned() };
        self.rest = rest;
        last.map(|micros| micros.max(0) as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_however_lines_are_torn() {
        let mut lines = Lines::default();
        assert_eq!(lines.see(b"frame=1\nout_time_us=N/A\nprogress=continue\n"), None);
        assert_eq!(lines.see(b"frame=2\nout_time_us=15"), None);
        assert_eq!(lines.see(b"00000\nout_time_ms=7\nout_time_us=-9\nout_time_us=2500000\nprog"), Some(2.5));
        assert_eq!(lines.see(b"ress=end\nout_time_us=-100\n"), Some(0.0));
        assert_eq!(lines.see(&[b'x'; 5000]), None);
        assert_eq!(lines.see(b"\nout_time_us=1000000\n"), Some(1.0));
    }
}
