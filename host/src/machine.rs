//! What the machine has for this process, and how many capacity units that makes.
//!
//! Control groups count, those above the process's own included: in a container the machine's own figures would promise
//! what the kernel does not give.

use std::path::Path;
use std::thread::available_parallelism;

use tidegate_capacity::{UNIT_CACHE_BYTES, UNITS_MAX};

/// Units of a core. A lane waits for its target most of its time; a guess.
const UNITS_OF_CORE: u64 = 4;

/// Waiting changes may take one part in so many of the memory; the rest is for modules, groups on their way, and others.
const MEMORY_PARTS: u64 = 2;

/// Where Linux shows control groups, of either version.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// The machine's name, for people; `localhost` where the system does not tell.
pub(crate) fn name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    told.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

/// Cores and memory that the process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) cores: u64,
    /// `None` where the system does not tell.
    pub(crate) memory_bytes: Option<u64>,
}

impl Machine {
    /// Looks at the system. Cores are those that the process may run on, within its quota of CPU time.
    pub(crate) fn look() -> Self {
        let cores = available_parallelism().map_or(1, |cores| cores.get() as u64);
        let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory_total(&text));
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let limit = memory_limit(Path::new(CONTROL_GROUPS), &groups);
        Self { cores, memory_bytes: total.into_iter().chain(limit).min() }
    }

    /// Units that a node on this machine offers when nobody says how many; at least one.
    pub(crate) fn units(self) -> u32 {
        let of_cores = self.cores.saturating_mul(UNITS_OF_CORE);
        let of_memory = self.memory_bytes.map_or(u64::MAX, |bytes| bytes / MEMORY_PARTS / UNIT_CACHE_BYTES);
        u32::try_from(of_cores.min(of_memory)).unwrap_or(u32::MAX).clamp(1, UNITS_MAX)
    }
}

/// Bytes of memory, out of `/proc/meminfo`.
fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// The lowest memory limit of the process's control group and those above it; `groups` is the text of `/proc/self/cgroup`.
/// In a container the path may be the machine's, of which only the end of the tree is visible: what is not there is left out.
/// Source: Linux manual, cgroups(7); kernel documentation, "Control Group v2" (`memory.max`) and "Memory Resource
/// Controller" (`memory.limit_in_bytes`, which is close to 2^63 where there is no limit).
fn memory_limit(root: &Path, groups: &str) -> Option<u64> {
    let of_group = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let (dir, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            all if all.split(',').any(|controller| controller == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        Path::new(path.trim_start_matches('/'))
            .ancestors()
            .filter_map(|above| std::fs::read_to_string(dir.join(above).join(file)).ok()?.trim().parse::<u64>().ok())
            .min()
    };
    groups.lines().filter_map(of_group).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn units_follow_cores_as_far_as_memory_has_room() {
        let units = |cores, memory_bytes| Machine { cores, memory_bytes }.units();
        assert_eq!([units(2, Some(4 * GIB)), units(16, Some(64 * GIB)), units(16, Some(4 * GIB))], [8, 64, 32]);
        assert_eq!([units(1, Some(GIB / 16)), units(4, None), units(1_000, Some(8_192 * GIB))], [1, 16, UNITS_MAX]);
    }

    #[test]
    fn the_lowest_limit_of_all_groups_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        write("a/memory.max", "2147483648\n");
        write("a/b/memory.max", "max\n");
        write("memory/c/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/memory.limit_in_bytes", "1073741824\n");
        assert_eq!(memory_limit(root.path(), "0::/a/b\n"), Some(2 * GIB));
        assert_eq!(memory_limit(root.path(), "12:cpu,cpuacct:/c\n11:memory:/c\n0::/\n"), Some(GIB));
        assert_eq!(memory_limit(root.path(), "0::/not/here\n"), None);
        assert_eq!(memory_limit(root.path(), "nonsense"), None);
    }

    #[test]
    fn this_machine_has_something() {
        let machine = Machine::look();
        assert!(machine.cores >= 1 && machine.units() >= 1, "{machine:?}");
        assert_eq!(memory_total("MemFree: 1 kB\nMemTotal:       16 kB\n"), Some(16 << 10));
    }
}
