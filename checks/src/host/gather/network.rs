//! What listens for TCP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::KERNEL_LIST_BYTES_MAX;
use crate::host::{
    Root,
    facts::{Fact, List, Listener},
};

/// A connection that waits for others.
const LISTENING: &str = "0A";

/// Where something listens in the host's network: that of the first process.
pub(super) fn listeners(root: &Root) -> Fact<List<Listener>> {
    let mut all = Vec::new();
    for (file, is_needed) in [("tcp", true), ("tcp6", false)] {
        let path = format!("/proc/1/net/{file}");
        match root.text(&path, KERNEL_LIST_BYTES_MAX) {
            Fact::Known(text) => {
                for line in text.lines().skip(1) {
                    match listener(line) {
                        Some(Some(listener)) => all.push(listener),
                        Some(None) => {}
                        None => return Fact::unknown(format!("{path} has a line that cannot be understood")),
                    }
                }
            }
            // A kernel without IPv6 has no such file.
            Fact::Absent if !is_needed => {}
            Fact::Absent => return Fact::unknown(format!("there is no {path}")),
            Fact::Unknown(why) => return Fact::Unknown(why),
        }
    }
    List::known(all)
}

/// What a line says: nothing that listens, or where; none where it cannot be understood.
fn listener(line: &str) -> Option<Option<Listener>> {
    let mut words = line.split_ascii_whitespace();
    let (_, local, _, state) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if state != LISTENING {
        return Some(None);
    }
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes())),
        32 => {
            // Four words, each as it lies in memory.
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                let word = address.get(at * 8..at * 8 + 8)?;
                chunk.copy_from_slice(&u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(Some(Listener { address, port }))
}
