//! What Prometheus' client libraries say of the process itself, under the usual names;
//! from `/proc`, and nothing where there is none.

use std::fs;
use std::sync::atomic::AtomicU64;

use nix::sys::resource::{Resource, getrlimit};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

/// The unit of time in `/proc`: a hundredth of a second on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The process, as it is now.
#[derive(Debug, PartialEq)]
pub struct Process {
    cpu_s: f64,
    started_at_s: f64,
    threads: i64,
    virtual_bytes: i64,
    resident_bytes: i64,
    open_files: i64,
    most_open_files: i64,
}

impl Process {
    /// Reads `/proc`.
    pub fn read() -> Option<Self> {
        let text = |path| fs::read_to_string(path).ok();
        let mut process = Self::parse(
            &text("/proc/self/stat")?,
            &text("/proc/self/status")?,
            &text("/proc/stat")?,
        )?;
        let files = fs::read_dir("/proc/self/fd").ok()?.count();
        process.open_files = i64::try_from(files).ok()?;
        let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
        process.most_open_files = i64::try_from(most).unwrap_or(i64::MAX);
        Some(process)
    }

    /// From `stat` and `status` of the process, and `stat` of the machine.
    fn parse(stat: &str, status: &str, machine: &str) -> Option<Self> {
        // The name of the program comes before, in parentheses, and may hold any.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let of = |text: &str, name: &str| -> Option<i64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let booted_at_s = of(machine, "btime ")? as f64;
        Some(Self {
            cpu_s: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            started_at_s: booted_at_s + field(22)? / TICKS_PER_SECOND,
            threads: of(status, "Threads:")?,
            virtual_bytes: of(status, "VmSize:")? * 1024,
            resident_bytes: of(status, "VmRSS:")? * 1024,
            open_files: 0,
            most_open_files: 0,
        })
    }

    /// Adds it to an answer, whose names begin with nothing else.
    pub fn register(&self, all: &mut Registry) {
        all.register_with_unit(
            "process_cpu",
            "Time that the process spent on processors, including the kernel's work for it",
            Unit::Seconds,
            ConstCounter::new(self.cpu_s),
        );
        let started = Gauge::<f64, AtomicU64>::default();
        started.set(self.started_at_s);
        all.register_with_unit(
            "process_start_time",
            "When the process began, in seconds since 1970",
            Unit::Seconds,
            started,
        );
        let gauges = [
            ("process_threads", "Threads of the process", self.threads),
            (
                "process_virtual_memory_bytes",
                "Addresses that the process has reserved, in bytes",
                self.virtual_bytes,
            ),
            (
                "process_resident_memory_bytes",
                "Memory of the process, in bytes",
                self.resident_bytes,
            ),
            (
                "process_open_fds",
                "Files and connections that are open",
                self.open_files,
            ),
            (
                "process_max_fds",
                "How many files and connections may be open",
                self.most_open_files,
            ),
        ];
        for (name, help, value) in gauges {
            all.register(name, help, ConstGauge::new(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_read_whatever_the_program_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 90 0 0 0 250 50 0 0 20 0 4 0 1000 9000 300 1";
        let status = "Name:\ta) b\nVmSize:\t   9000 kB\nVmRSS:\t    300 kB\nThreads:\t4\n";
        let machine = "cpu  1 2 3\nbtime 1700000000\nprocesses 9\n";
        let process = Process {
            cpu_s: 3.0,
            started_at_s: 1_700_000_010.0,
            threads: 4,
            virtual_bytes: 9_216_000,
            resident_bytes: 307_200,
            open_files: 0,
            most_open_files: 0,
        };
        assert_eq!(Process::parse(stat, status, machine), Some(process));
        assert_eq!(Process::parse("", status, machine), None);
    }
}
