//! What the process may use of its machine: memory and CPUs.
//!
//! A control group is bound by its own limit and by those of all groups above it, so the smallest one on the way up
//! counts. Version 2 and version 1 are read alike: where the hierarchy is mounted, which part of it the mount shows, and
//! which group of it is ours.

pub mod files;
pub mod pace;

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::process::{Resource, getrlimit};

/// The memory of a system that tells nothing about it.
const UNKNOWN_MEMORY: usize = 1 << 30;

/// Bytes that the process may use: the smallest of the machine's memory, the limits of the control groups, and the limit
/// on address space. Read once.
#[must_use]
pub fn usable_memory() -> usize {
    static USABLE: OnceLock<usize> = OnceLock::new();
    *USABLE.get_or_init(|| {
        let own = [Resource::As, Resource::Data].map(|what| getrlimit(what).current);
        let own = own.into_iter().flatten().filter_map(|limit| usize::try_from(limit).ok());
        own.chain(memory_limit(Path::new("/"))).min().unwrap_or(UNKNOWN_MEMORY)
    })
}

/// CPUs that the process may use: its affinity and the quotas of the control groups, whole ones and at least one.
#[must_use]
pub fn usable_cpus() -> usize {
    let known = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    cpu_quota(Path::new("/")).map_or(known, |quota| known.min(quota))
}

/// The smallest limit on memory that can be read below `root`.
fn memory_limit(root: &Path) -> Option<usize> {
    let all = read_to_string(root.join("proc/meminfo")).ok().and_then(|text| total_memory(&text));
    let groups = control_groups(root, "memory");
    let limits = groups.iter().flat_map(|group| {
        ["memory.max", "memory.high", "memory.limit_in_bytes"].map(|file| read_number(group, file))
    });
    limits.flatten().chain(all).min()
}

/// The smallest quota of CPUs that can be read below `root`.
fn cpu_quota(root: &Path) -> Option<usize> {
    let groups = control_groups(root, "cpu");
    let quotas = groups.iter().filter_map(|group| {
        let (quota, period) = match read_to_string(group.join("cpu.max")) {
            Ok(text) => {
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.parse().ok()?, period.parse().ok()?)
            }
            Err(_) => {
                (read_number(group, "cpu.cfs_quota_us")?, read_number(group, "cpu.cfs_period_us")?)
            }
        };
        let (quota, period): (usize, usize) = (quota, period);
        Some(quota.checked_div(period)?.max(1))
    });
    quotas.min()
}

/// A limit that is a number; "max" and -1 are none.
fn read_number(group: &Path, file: &str) -> Option<usize> {
    read_to_string(group.join(file)).ok()?.trim().parse().ok()
}

/// `MemTotal` of `/proc/meminfo`.
fn total_memory(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The directories of our control groups that can have a limit of `controller`, in all hierarchies, each with those above
/// it as far as they are mounted.
fn control_groups(root: &Path, controller: &str) -> Vec<PathBuf> {
    let read = |file| read_to_string(root.join(file)).unwrap_or_default();
    let (memberships, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mut groups = Vec::new();
    for line in memberships.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        // Version 2 is the hierarchy without a name.
        let named = (!controllers.is_empty()).then_some(controller);
        if named.is_some() && !controllers.split(',').any(|it| it == controller) {
            continue;
        }
        for (shown, at) in mounts.lines().filter_map(|line| parse_mount(line, named)) {
            // Outside of what is mounted, the mount itself is what binds us.
            let inside = Path::new(path).strip_prefix(shown).unwrap_or(Path::new(""));
            let below = if inside.components().any(|it| it == std::path::Component::ParentDir) {
                Path::new("")
            } else {
                inside.strip_prefix("/").unwrap_or(inside)
            };
            let at = root.join(at.trim_start_matches('/'));
            groups.extend(below.ancestors().map(|below| at.join(below)));
        }
    }
    groups
}

/// Returns the group that a mount shows, and its place, if it is version 2 or has the controller of this name (`proc_pid_mountinfo(5)`).
fn parse_mount<'a>(line: &'a str, controller: Option<&str>) -> Option<(&'a str, &'a str)> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (shown, at) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let kind = after.next()?;
    let options = after.nth(1)?;
    let is_ours = match controller {
        None => kind == "cgroup2",
        Some(name) => kind == "cgroup" && options.split(',').any(|it| it == name),
    };
    is_ours.then_some((shown, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of 8 GiB with these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let meminfo = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");
        for (file, text) in files.iter().chain([&meminfo]) {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        root
    }

    const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
    const V1: &str = "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";

    #[test]
    fn w12_the_smallest_limit_on_the_way_up_counts_in_version_2() {
        let root = machine(&[
            ("proc/self/mountinfo", V2),
            ("proc/self/cgroup", "0::/kubepods/pod7/proxy\n"),
            ("sys/fs/cgroup/kubepods/memory.max", "4294967296\n"),
            ("sys/fs/cgroup/kubepods/pod7/memory.max", "268435456\n"),
            ("sys/fs/cgroup/kubepods/pod7/cpu.max", "250000 100000\n"),
            ("sys/fs/cgroup/kubepods/pod7/proxy/memory.max", "max\n"),
            ("sys/fs/cgroup/kubepods/pod7/proxy/cpu.max", "max 100000\n"),
            // A neighbour's limit is none of ours.
            ("sys/fs/cgroup/kubepods/pod8/memory.max", "1048576\n"),
        ]);
        assert_eq!((memory_limit(root.path()), cpu_quota(root.path())), (Some(256 << 20), Some(2)));
    }

    #[test]
    fn w12_a_throttled_group_is_as_good_as_full() {
        let root = machine(&[
            ("proc/self/mountinfo", V2),
            ("proc/self/cgroup", "0::/system.slice/tidegate.service\n"),
            ("sys/fs/cgroup/system.slice/tidegate.service/memory.max", "268435456\n"),
            ("sys/fs/cgroup/system.slice/tidegate.service/memory.high", "134217728\n"),
        ]);
        assert_eq!(memory_limit(root.path()), Some(128 << 20));
    }

    #[test]
    fn w12_version_1_is_read_too() {
        let root = machine(&[
            ("proc/self/mountinfo", V1),
            (
                "proc/self/cgroup",
                "5:cpu,cpuacct:/docker/1/in\n4:memory:/docker/1/in\n1:name=systemd:/\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "100663296\n"),
            ("sys/fs/cgroup/memory/docker/1/in/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/docker/1/in/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/docker/1/in/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!((memory_limit(root.path()), cpu_quota(root.path())), (Some(96 << 20), Some(1)));
    }

    #[test]
    fn w12_a_container_sees_its_own_part_of_the_hierarchy() {
        // Without a namespace of its own the path is the host's, and the mount shows a part of that.
        let host = "31 24 0:27 /docker/1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        for (mountinfo, cgroup) in [
            (host, "4:memory:/docker/1\n"),
            (host, "4:memory:/docker/1/in\n"),
            (V1, "4:memory:/\n"),
            // Moved out of what the namespace shows.
            (V1, "4:memory:/../2\n"),
        ] {
            let root = machine(&[
                ("proc/self/mountinfo", mountinfo),
                ("proc/self/cgroup", cgroup),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n"),
            ]);
            assert_eq!(memory_limit(root.path()), Some(64 << 20), "{mountinfo} {cgroup}");
        }
    }

    #[test]
    fn without_control_groups_all_memory_counts() {
        assert_eq!(memory_limit(machine(&[]).path()), Some(8 << 30));
        assert_eq!(memory_limit(Path::new("/nowhere")), None);
        assert!(usable_memory() > 1 << 20 && usable_cpus() >= 1);
    }
}
