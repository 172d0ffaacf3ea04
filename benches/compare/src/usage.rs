//! What a process costs, as the kernel counts it.

use std::fs;

use anyhow::{Context as _, Result};

/// The kernel counts processor time in hundredths of a second.
const TICK_US: u64 = 10_000;

/// Processor time that a process has used, in user and kernel mode, in microseconds.
pub(crate) fn cpu_us(process: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("the process's name ends")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || -> Result<u64> { Ok(fields.next().context("/proc/PID/stat is short")?.parse()?) };
    Ok((ticks()? + ticks()?) * TICK_US)
}
