//! The resource usage of a process, from the kernel.

use std::fs;
use std::time::Duration;

/// The CPU time of a process's live threads. Envoy's threads live as long as its process.
///
/// # Panics
/// The process does not exist.
pub fn cpu(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process of this machine");
    let run = |path: std::path::PathBuf| -> u64 {
        let text = fs::read_to_string(path.join("schedstat")).expect("the kernel counts time");
        let (run, _) = text.split_once(' ').expect("three numbers");
        run.parse().expect("nanoseconds")
    };
    Duration::from_nanos(threads.map(|thread| run(thread.expect("a thread").path())).sum())
}

/// The CPU time of a process, including ended threads, in steps of 10 ms.
///
/// # Panics
/// The process does not exist.
pub fn cpu_of_all(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process of this machine");
    // The fields follow the name, which is in parentheses and may contain any character.
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks: u64 =
        fields.split(' ').skip(11).take(2).map(|it| it.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}

/// The resident memory of a process, in KiB.
///
/// # Panics
/// The process does not exist.
pub fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("kilobytes")
}

/// The linear memories of the VMs in a process, in KiB: the accessible start of each large
/// reservation. V8 reserves the whole range of a 32-bit address.
///
/// # Panics
/// The process does not exist.
pub fn linear_memories_kib(pid: u32) -> Vec<u64> {
    const RESERVED: u64 = 3 << 30;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process");
    let maps: Vec<_> = maps.lines().filter_map(mapping).collect();
    let memories = maps.windows(2).filter(|pair| {
        let [memory, guard] = pair else { return false };
        memory.accessible && !guard.accessible && guard.size() > RESERVED && memory.to == guard.from
    });
    memories.map(|pair| pair[0].size() / 1024).collect()
}

struct Mapping {
    from: u64,
    to: u64,
    accessible: bool,
}

impl Mapping {
    fn size(&self) -> u64 {
        self.to - self.from
    }
}

fn mapping(line: &str) -> Option<Mapping> {
    let (range, rest) = line.split_once(' ')?;
    let (from, to) = range.split_once('-')?;
    let address = |digits| u64::from_str_radix(digits, 16).ok();
    Some(Mapping { from: address(from)?, to: address(to)?, accessible: rest.starts_with("rw") })
}
