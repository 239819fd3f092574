//! What the process may use of its machine: memory and CPUs.
//!
//! A control group is bound by its own limit and by those of all groups above it, so the smallest
//! one on the way up counts. Version 2 and version 1 are read alike: where the hierarchy is
//! mounted, which part of it the mount shows, and which group of it is ours.

pub mod bell;
pub mod files;
pub mod pace;

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::process::{Resource, getrlimit};

/// The memory of a system that tells nothing about it.
const UNKNOWN_MEMORY: usize = 1 << 30;

/// Bytes that the process may use: the smallest of the machine's memory, the limits of the control
/// groups, and the limit on address space. Read once.
#[must_use]
pub fn usable_memory() -> usize {
    static USABLE: OnceLock<usize> = OnceLock::new();
    *USABLE.get_or_init(|| {
        let own = [Resource::As, Resource::Data].map(|what| getrlimit(what).current);
        let own = own.into_iter().flatten().filter_map(|limit| usize::try_from(limit).ok());
        own.chain(memory_limit(Path::new("/"))).min().unwrap_or(UNKNOWN_MEMORY)
    })
}

/// CPUs that the process may use: its affinity and the quotas of the control groups, whole ones and
/// at least one.
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

/// The directories of our control groups that can have a limit of `controller`, in all hierarchies,
/// each with those above it as far as they are mounted.
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

/// Returns the group that a mount shows, and its place, if it is version 2 or has the controller of
/// this name (`proc_pid_mountinfo(5)`).
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
mod tests;
