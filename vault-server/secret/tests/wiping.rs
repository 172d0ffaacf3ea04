//! Looks into the memory of this process for what a dropped secret leaves behind.
//!
//! One test alone in its binary: another thread could take the freed memory before it was looked at.
#![cfg(target_os = "linux")]

use std::{fs::File, os::unix::fs::FileExt as _};

use coffer_secret::{SecretArray, SecretBytes, SecretString};

const SIZE: usize = 4096;
const CANARY: u8 = b'~';

/// A run of the canary that is no accident: who owns a freed place now may well write a byte or two of its value there.
const RUN: usize = 8;

/// How many runs of the canary are at an address, whoever owns it now.
fn canaries_at(memory: &File, address: usize) -> usize {
    // On the stack: a buffer on the heap might take the very place that was freed.
    let mut bytes = [0; SIZE];
    let read = memory.read_at(&mut bytes, address as u64).expect("the allocator keeps the page");
    let bytes = bytes.get(..read).expect("no more is read than there is room for");
    bytes.windows(RUN).filter(|run| run.iter().all(|byte| *byte == CANARY)).count()
}

/// Canaries that stay where `value` kept its bytes, once it is dropped.
fn left_by<T>(memory: &File, value: T, place: impl Fn(&T) -> *const u8) -> usize {
    let address = place(&value) as usize;
    assert!(canaries_at(memory, address) > SIZE / 2, "the canary is where it was put");
    drop(value);
    canaries_at(memory, address)
}

#[test]
fn a_dropped_secret_leaves_nothing_behind() {
    let memory = File::open("/proc/self/mem").expect("own memory");

    // The control: what is not a secret stays, so this test can see it.
    assert!(left_by(&memory, vec![CANARY; SIZE], |bytes| bytes.as_ptr()) > SIZE / 2);

    assert_eq!(left_by(&memory, SecretBytes::from(vec![CANARY; SIZE]), |secret| secret.expose().as_ptr()), 0);
    assert_eq!(left_by(&memory, SecretString::from("~".repeat(SIZE)), |secret| secret.expose().as_ptr()), 0);
    let array = SecretArray::<SIZE>::zeroed_with(|array| array.fill(CANARY));
    assert_eq!(left_by(&memory, array, |secret| secret.expose().as_ptr()), 0);

    let mut shortened = vec![CANARY; SIZE];
    shortened.truncate(1);
    assert_eq!(left_by(&memory, SecretBytes::from(shortened), |secret| secret.expose().as_ptr()), 0, "spare capacity");

    let mut growing = SecretBytes::from(vec![CANARY; SIZE]);
    let first_place = growing.expose().as_ptr() as usize;
    growing.append(&[CANARY; SIZE]);
    assert_ne!(growing.expose().as_ptr() as usize, first_place, "it had to move");
    assert_eq!(canaries_at(&memory, first_place), 0, "the place that was outgrown");
}
