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
