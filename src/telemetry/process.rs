//! What the operating system says about this process, read from `/proc`.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

/// CPU, memory and descriptors. What cannot be read is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Process {
    /// User and system time in seconds.
    pub cpu_seconds: f64,
    /// Memory in use, in bytes.
    pub resident_bytes: u64,
    /// Address space in use, in bytes.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// The most there may be.
    pub max_fds: u64,
}

impl Process {
    /// Reads it all.
    #[must_use]
    pub fn read_process() -> Self {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let page = rustix::param::page_size() as u64;
        let mut pages = statm.split(' ').map(|n| n.parse::<u64>().unwrap_or_default() * page);
        let (size, resident) = (pages.next(), pages.next());
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // One of the descriptors is the one that this counts with.
        let fds = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count());
        Self {
            cpu_seconds: cpu_ticks(&stat) as f64 / rustix::param::clock_ticks_per_second() as f64,
            resident_bytes: resident.unwrap_or_default(),
            virtual_bytes: size.unwrap_or_default(),
            open_fds: fds.saturating_sub(1) as u64,
            max_fds: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        }
    }
}

/// User and system time out of `/proc/self/stat` (proc(5): fields 14 and 15; the second field is in
/// parentheses and may contain anything).
fn cpu_ticks(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = after_name.split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Seconds since 1970.
#[must_use]
pub fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_moves_no_field() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20";
        assert_eq!(cpu_ticks(stat), 42);
        assert_eq!(cpu_ticks(""), 0);
    }

    #[test]
    fn this_process_uses_something() {
        let process = Process::read_process();
        assert!(process.resident_bytes > 1 << 20 && process.virtual_bytes > process.resident_bytes);
        assert!(process.open_fds >= 3 && process.max_fds >= process.open_fds);
    }
}
