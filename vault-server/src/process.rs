//! What the kernel says of this process.

use std::{fs, time::Duration};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// Figures of this process; zero where the kernel does not tell.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) cpu_seconds: f64,
    pub(crate) start_time_seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) open_fds: usize,
    pub(crate) max_fds: u64,
}

impl Figures {
    pub(crate) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/stat").unwrap_or_default();
        Self {
            open_fds: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            max_fds: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            ..Self::parse(&stat, &kernel).unwrap_or_default()
        }
    }

    /// Reads `/proc/PID/stat` and `/proc/stat` (proc(5)).
    fn parse(stat: &str, kernel: &str) -> Option<Self> {
        // The program's name may have anything in it: what follows the last parenthesis is numbers.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        let boot: u64 = kernel.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(Self {
            cpu_seconds: seconds(field(14)? + field(15)?),
            start_time_seconds: Duration::from_secs(boot).as_secs_f64() + seconds(field(22)?),
            virtual_bytes: field(23)?,
            resident_bytes: field(24)?.saturating_mul(u64::try_from(page_size()).ok()?),
            ..Self::default()
        })
    }
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_move_the_fields() {
        let numbers = (4..=52).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        let figures = Figures::parse(&format!("7 (a) b) S {numbers}\n"), "cpu 1\nbtime 1000\n").unwrap();
        assert_eq!(figures.virtual_bytes, 23);
        assert_eq!(figures.cpu_seconds, seconds(14 + 15));
        assert_eq!(figures.start_time_seconds, 1_000.0 + seconds(22));
        assert_eq!(Figures::parse("", ""), None);
    }

    #[test]
    fn this_process_has_files_memory_and_a_beginning() {
        let figures = Figures::read();
        assert!(figures.open_fds > 2 && figures.max_fds > 2, "{figures:?}");
        assert!(figures.resident_bytes > 1 << 20 && figures.virtual_bytes >= figures.resident_bytes, "{figures:?}");
        assert!(figures.start_time_seconds > 1.6e9, "{figures:?}");
    }
}
