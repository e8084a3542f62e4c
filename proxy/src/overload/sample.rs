//! What the process uses and may use, as the kernel says: `/proc/self` and the memory limit of its cgroup, version 2 or
//! 1. What cannot be read is unlimited: a proxy on a machine without cgroups is not overloaded.

use std::fs;
use std::io;
use std::path::Path;

/// Above this a limit of cgroup version 1 is none; the kernel writes the largest multiple of a page.
const NO_LIMIT: u64 = 1 << 60;

/// As much as there may be, where there is too little left to count.
pub const ALL: u64 = u64::MAX;

/// `EMFILE`: the process has no descriptor left.
const NONE_LEFT: i32 = 24;

/// The memory that the process has resident, bytes.
pub fn memory() -> Option<u64> {
    resident(&fs::read_to_string("/proc/self/status").ok()?)
}

/// More than any page of the allocator holds, so that it is freed to the allocator's common part at once.
const LARGE: usize = 4 * 1024 * 1024;

/// Has the allocator give back to the kernel what has been free for a second. mimalloc keeps that until some thread frees
/// a page again; where nothing is accepted any more, none may, and [`memory`] would stay as it is for ever.
pub fn purge() {
    // Nothing is written to it: it costs no memory.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
}

/// The memory that the process's cgroup may have, or the nearest one around it that is limited, bytes.
pub fn memory_limit() -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits =
        limit_files(&membership).into_iter().filter_map(|file| limit(&fs::read_to_string(Path::new(&file)).ok()?));
    limits.min()
}

/// The file descriptors that the process has open; [`ALL`] where not even one is left to count them with.
pub fn descriptors() -> Option<u64> {
    // Since Linux 6.2 the folder's size is their number; before, they are counted, which takes one.
    let folder = Path::new("/proc/self/fd");
    match fs::metadata(folder).ok()?.len() {
        0 => counted(fs::read_dir(folder).map(Iterator::count)),
        count => Some(count),
    }
}

fn counted(count: io::Result<usize>) -> Option<u64> {
    match count {
        Ok(count) => u64::try_from(count).ok(),
        Err(error) => (error.raw_os_error() == Some(NONE_LEFT)).then_some(ALL),
    }
}

/// The file descriptors that the process may have open.
pub fn descriptors_limit() -> Option<u64> {
    open_files(&fs::read_to_string("/proc/self/limits").ok()?)
}

/// `VmRSS` of a `status`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The soft limit of `Max open files` in a `limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Where the limits of a process stand that belongs to these cgroups: its own, and those around it. Inside a container
/// the root is often the container's own.
fn limit_files(membership: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            some if some.split(',').any(|one| one == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let mut path = path.trim_end_matches('/');
        loop {
            files.push(format!("{root}{path}/{name}"));
            match path.rsplit_once('/') {
                Some((around, _)) => path = around,
                None => break,
            }
        }
    }
    files
}

/// A limit as a cgroup says it; `max` is none.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{
        ALL, NONE_LEFT, counted, descriptors, descriptors_limit, limit, limit_files, memory, open_files, resident,
    };

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t   12 kB\n"), Some(12 * 1024));
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024      4096      files\n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(open_files("Max open files   unlimited  unlimited files"), None);
        assert_eq!(
            (limit("max\n"), limit("268435456\n"), limit("9223372036854771712")),
            (None, Some(268_435_456), None)
        );
        for wrong in ["", "VmRSS:", "VmRSS: many kB", "VmRSS: 18446744073709551615 kB"] {
            assert_eq!(resident(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn with_no_descriptor_left_to_count_them_all_are_open() {
        assert_eq!(counted(Ok(7)), Some(7));
        assert_eq!(counted(Err(io::Error::from_raw_os_error(NONE_LEFT))), Some(ALL));
        assert_eq!(counted(Err(io::ErrorKind::NotFound.into())), None);
    }

    #[test]
    fn limits_are_looked_for_from_the_process_up() {
        let second = limit_files("0::/kubepods/pod1/a\n");
        assert_eq!(second[0], "/sys/fs/cgroup/kubepods/pod1/a/memory.max");
        assert_eq!(second.last().map(String::as_str), Some("/sys/fs/cgroup/memory.max"));
        assert_eq!(limit_files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        let first = limit_files("12:cpu,cpuacct:/x\n4:memory:/docker/a\nnonsense\n");
        assert_eq!(first[0], "/sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes");
        assert_eq!(first.len(), 3);
    }

    #[test]
    fn this_very_process_uses_something() {
        assert!(memory().is_some_and(|bytes| bytes > 100_000));
        assert!(descriptors().is_some_and(|count| count > 2) && descriptors_limit().is_none_or(|limit| limit > 2));
    }
}
