//! How much memory the process may use.

use std::fs::read_to_string;
use std::sync::OnceLock;

/// The limit of the process's cgroup, or all the memory of the machine, in bytes; read once.
pub(super) fn usable() -> usize {
    static USABLE: OnceLock<usize> = OnceLock::new();
    *USABLE.get_or_init(|| {
        let limit = read_to_string("/sys/fs/cgroup/memory.max").ok();
        let limit = limit.and_then(|text| text.trim().parse().ok());
        let all = read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
        match (limit, all) {
            (Some(limit), Some(all)) => all.min(limit),
            (Some(one), None) | (None, Some(one)) => one,
            // A system that tells nothing.
            (None, None) => 1 << 30,
        }
    })
}

/// `MemTotal` of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read() {
        assert_eq!(total("MemTotal:        2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(usable() > 1 << 20);
    }
}
