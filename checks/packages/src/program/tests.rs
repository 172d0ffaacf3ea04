use std::io::Write as _;

use super::*;
use crate::Ecosystem;

/// A program of 64 bits whose one segment is the whole file.
struct Builder {
    sections: Vec<(&'static str, Vec<u8>)>,
    /// Bytes before the first section.
    filler: usize,
    has_table: bool,
}

const ADDRESS: u64 = 0x40_0000;
const SEGMENTS_BYTES: usize = 120;

impl Builder {
    fn new(sections: Vec<(&'static str, Vec<u8>)>) -> Self {
        Self { sections, filler: 0, has_table: true }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; SEGMENTS_BYTES + self.filler];
        let (mut names, mut rows) = (vec![0], vec![[0_u64; 3]]);
        for (name, data) in &self.sections {
            out.resize(out.len().next_multiple_of(16), 0);
            rows.push([names.len() as u64, out.len() as u64, data.len() as u64]);
            names.extend(name.bytes().chain([0]));
            out.extend(data);
        }
        if self.has_table {
            rows.push([names.len() as u64, out.len() as u64, names.len() as u64 + 10]);
            names.extend(b".shstrtab\0");
            out.extend(&names);
        }
        let table = out.len() as u64;
        for [name, offset, size] in if self.has_table { rows.clone() } else { Vec::new() } {
            out.extend((u32::try_from(name).unwrap()).to_le_bytes());
            out.extend([0; 20]);
            out.extend(offset.to_le_bytes());
            out.extend(size.to_le_bytes());
            out.extend([0; 24]);
        }
        let count = if self.has_table { u16::try_from(rows.len()).unwrap() } else { 0 };
        let mut header = b"\x7fELF\x02\x01\x01".to_vec();
        header.resize(32, 0);
        header.extend(64_u64.to_le_bytes());
        header.extend(if self.has_table { table } else { 0 }.to_le_bytes());
        header.resize(54, 0);
        for number in [56, 1, 64, count, count.saturating_sub(1)] {
            header.extend(u16::to_le_bytes(number));
        }
        // PT_LOAD, to be read and written.
        header.extend(1_u32.to_le_bytes());
        header.extend(6_u32.to_le_bytes());
        for number in [0, ADDRESS, ADDRESS, out.len() as u64] {
            header.extend(number.to_le_bytes());
        }
        header.resize(SEGMENTS_BYTES, 0);
        out[..SEGMENTS_BYTES].copy_from_slice(&header);
        out
    }
}

fn read(bytes: &[u8], chunk: usize) -> BuiltIn {
    let mut program = Program::default();
    bytes.chunks(chunk).for_each(|bytes| program.feed(bytes));
    program.finish()
}

fn told(built: &BuiltIn) -> Vec<String> {
    built.listed.packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect()
}

fn marked(modules: &str) -> Vec<u8> {
    let end = [0xf9, 0x32, 0x43, 0x31, 0x86, 0x18, 0x20, 0x72, 0x00, 0x82, 0x42, 0x10, 0x41, 0x16, 0xd8, 0xf2];
    [MODULES_BEGIN, modules.as_bytes(), &end].concat()
}

fn counted(bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut out = Vec::new();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    out.extend(bytes);
    out
}

/// Build information as Go has it since 1.18.
fn inline(version: &str, modules: &str) -> Vec<u8> {
    let mut info = BUILD_INFO.to_vec();
    info.extend([8, 2]);
    info.resize(32, 0);
    info.extend(counted(version.as_bytes()));
    info.extend(counted(&marked(modules)));
    info
}

const MODULES: &str = "path\texample.com/app\nmod\texample.com/app\t(devel)\t\ndep\tgithub.com/a/b\tv1.2.3\th1:x=\n\
    dep\tgithub.com/c/d\tv0.1.0\n=>\tgithub.com/e/d\tv0.1.1\th1:y=\ndep\tgithub.com/local\tv1.0.0\n=>\t./local\t(devel)\t\n\
    build\t-compiler=gc\nbuild\tvcs.revision=0123456789abcdef0123\nbuild\tvcs.time=2026-05-06T07:08:09Z\n";
const PACKAGES: [&str; 5] = [
    "stdlib go1.23.4",
    "example.com/app v0.0.0-20260506070809-0123456789ab",
    "github.com/a/b v1.2.3",
    "github.com/e/d v0.1.1",
    "github.com/local (devel)",
];

#[test]
fn modules_of_go_are_read_wherever_they_are_and_however_the_program_comes() {
    let info = || inline("go1.23.4 X:some", MODULES);
    let near = Builder::new(vec![(".go.buildinfo", info()), (".data", vec![1; 100])]).bytes();
    let far = Builder { filler: 5 * WINDOW_BYTES - 100, ..Builder::new(vec![(".go.buildinfo", info())]) }.bytes();
    let stripped = Builder { has_table: false, ..Builder::new(vec![("", info())]) }.bytes();
    for (name, bytes) in [("near", near), ("far", far), ("stripped", stripped)] {
        for chunk in [1, 100, 4096, usize::MAX] {
            let built = read(&bytes, chunk);
            assert_eq!((told(&built), built.unread), (PACKAGES.map(str::to_owned).to_vec(), None), "{name} in {chunk}");
        }
    }
}

#[test]
fn modules_of_a_go_of_before_1_18_are_found_by_their_addresses() {
    let (version, modules) = (b"go1.16.5".to_vec(), marked(MODULES));
    let text: Vec<u8> = [&b"some text of go1.1 go1.16 go1.2"[..], &version, &modules].concat();
    let build = |info: Vec<u8>| {
        let mut builder = Builder::new(vec![(".rodata", text.clone()), (".go.buildinfo", info), (".data", vec![0; 32])]);
        builder.filler = 3 * WINDOW_BYTES;
        builder
    };
    let (_, start) = (0, build(vec![0; 32]).bytes());
    let rodata = start.windows(text.len()).position(|window| window == text).unwrap() as u64;
    let data = (rodata + text.len() as u64).next_multiple_of(16) + 32;
    let mut info = BUILD_INFO.to_vec();
    info.extend([8, 0]);
    info.extend((ADDRESS + data).to_le_bytes());
    info.extend((ADDRESS + data + 16).to_le_bytes());
    let mut builder = build(info);
    let at = ADDRESS + rodata + 31;
    let strings = [at, version.len() as u64, at + version.len() as u64, modules.len() as u64];
    builder.sections[2].1 = strings.iter().flat_map(|number| number.to_le_bytes()).collect();
    let built = read(&builder.bytes(), 5000);
    let mut expected = PACKAGES.map(str::to_owned).to_vec();
    expected[0] = "stdlib go1.16.5".into();
    assert_eq!((told(&built), built.unread), (expected, None));
}

#[test]
fn what_only_looks_like_build_information_is_none() {
    let other = inline("go1.1", "mod\tother\tv1.0.0\t\n");
    let bytes = Builder::new(vec![(".rodata", other), (".go.buildinfo", inline("go1.23.4", MODULES))]).bytes();
    assert_eq!(told(&read(&bytes, 4096)), PACKAGES);
    let shifted = [&[0; 8][..], &inline("go1.23.4", MODULES)].concat();
    let built = read(&Builder::new(vec![(".go.buildinfo", shifted)]).bytes(), 4096);
    assert_eq!((built.listed.packages.len(), built.unread.is_some()), (0, true));
}

#[test]
fn symbols_that_were_split_off_have_nothing_built_in() {
    let mut bytes = Builder::new(vec![(".go.buildinfo", vec![0; 32])]).bytes();
    let row = bytes.len() - 2 * 64;
    assert!(read(&bytes, 4096).unread.is_some());
    bytes[row + 4] = 8;
    assert_eq!(read(&bytes, 4096), BuiltIn::default());
}

#[test]
fn a_version_that_the_linker_was_told_is_that_of_the_program() {
    for (flags, version) in [
        ("\"-s -w -X main.version=1.2.3\"", "v1.2.3"),
        ("\"-X example.com/app/version.GitVersion=v1.2.3-rc.1+x -X a.b=2.0.0\"", "v1.2.3-rc.1"),
        ("\"-X 'main.buildVersion=release/v4.5.6'\"", "v4.5.6"),
        ("\"-X main.Tag=v7.8.9 -X main.other=1.1.1\"", "v7.8.9"),
        ("\"-X main.version=dev\"", "v0.0.0-20260506070809-0123456789ab"),
    ] {
        let modules = format!("{MODULES}build\t-ldflags={flags}\n");
        let built = read(&Builder::new(vec![(".go.buildinfo", inline("go1.23.4", &modules))]).bytes(), 4096);
        let main = built.listed.packages.iter().find(|package| package.name == "example.com/app").unwrap();
        assert_eq!(main.version, version, "{flags}");
    }
}

#[test]
fn build_information_past_its_limit_is_said_not_to_be_read() {
    let build = |bytes: usize| {
        let frame = inline("go1.23.4", "x\n").len() - 2 + 2;
        let text = format!("{}\n", "x".repeat(bytes - frame - 1));
        let info = inline("go1.23.4", &text);
        (info.len(), read(&Builder::new(vec![(".go.buildinfo", info)]).bytes(), 4096))
    };
    let (length, built) = build(BUILT_IN_BYTES_MAX);
    assert_eq!((length, told(&built), built.unread), (BUILT_IN_BYTES_MAX, vec!["stdlib go1.23.4".to_owned()], None));
    let (length, built) = build(BUILT_IN_BYTES_MAX + 1);
    assert_eq!((length, built.unread.is_some()), (BUILT_IN_BYTES_MAX + 1, true));
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

const CRATES: &str = r#"{"packages":[{"name":"app","version":"0.1.0","source":"local","root":true,"dependencies":[1]},
    {"name":"cc","version":"1.0.0","source":"crates.io","kind":"build"},{"name":"serde","version":"1.0.200","source":"crates.io","kind":"runtime"}]}"#;

#[test]
fn crates_that_run_are_read_and_those_of_the_build_are_not() {
    let noise: Vec<u8> = (0..300_000_u32).flat_map(|number| [0x78, 0x9c, u8::try_from(number % 251).unwrap()]).collect();
    for has_table in [true, false] {
        let sections = vec![(".text", noise.clone()), (".dep-v0", zlib(CRATES.as_bytes())), (".data", noise.clone())];
        let built = read(&Builder { has_table, ..Builder::new(sections) }.bytes(), 7777);
        assert_eq!((told(&built), built.unread), (vec!["app 0.1.0".to_owned(), "serde 1.0.200".to_owned()], None));
        assert_eq!(built.listed.packages[0].ecosystem, Ecosystem::Rust);
    }
}

#[test]
fn a_list_of_crates_that_cannot_be_read_is_told() {
    let built = |data: Vec<u8>| read(&Builder::new(vec![(".dep-v0", data)]).bytes(), 4096).unread;
    assert!(built(b"nothing".to_vec()).is_some());
    assert!(built(zlib(b"{\"packages\":7}")).is_some());
    assert!(built(zlib(CRATES.as_bytes())[..40].to_vec()).is_some());
    assert_eq!(built(zlib(CRATES.as_bytes())), None);
}

#[test]
fn crates_are_unpacked_up_to_their_limit() {
    let padded = |bytes: usize| {
        let text = format!("{CRATES}{}", " ".repeat(bytes - CRATES.len()));
        read(&Builder::new(vec![(".dep-v0", zlib(text.as_bytes()))]).bytes(), 4096).unread
    };
    let max = usize::try_from(CRATES_BYTES_MAX).unwrap();
    assert_eq!(padded(max), None);
    assert_eq!(padded(max + 1), Some("its list of crates is larger than is read"));
}

#[test]
fn more_that_begins_like_a_list_than_is_looked_at_is_told() {
    let of = |count: usize| {
        let decoys = zlib(b"{\"a\":1}").repeat(count - 1);
        let sections = vec![(".rodata", decoys), (".dep-v0", zlib(CRATES.as_bytes()))];
        let builder = |has_table| Builder { has_table, ..Builder::new(sections.clone()) };
        [true, false].map(|has_table| read(&builder(has_table).bytes(), 4096).unread.is_some())
    };
    assert_eq!(of(CANDIDATES_MAX), [false, false]);
    assert_eq!(of(CANDIDATES_MAX + 1), [true, true]);
}

#[test]
fn words_of_go_are_kept_up_to_their_limit() {
    let words = |count: usize| {
        let mut elf = Elf::default();
        elf.feed(&Builder::new(vec![(".rodata", b"go1.1".repeat(count))]).bytes());
        elf.look(WINDOW_BYTES);
        elf.words.len()
    };
    assert_eq!(words(GO_WORDS_MAX), GO_WORDS_MAX);
    assert_eq!(words(GO_WORDS_MAX + 1), GO_WORDS_MAX);
}

#[test]
fn a_table_of_sections_past_its_limit_is_as_if_there_were_none() {
    let read = |parts: usize| {
        let mut sections = vec![("x", Vec::new()); parts - 3];
        sections.push((".go.buildinfo", inline("go1.23.4", MODULES)));
        let bytes = Builder::new(sections).bytes();
        Header::read(&bytes).unwrap().sections_bytes() / 64
    };
    assert_eq!(read(PARTS_MAX), PARTS_MAX);
    assert_eq!(read(PARTS_MAX + 1), 0);
}

#[test]
fn what_is_no_program_has_nothing_built_in() {
    for bytes in [
        &b""[..],
        b"\x7f",
        b"\x7fEL",
        b"\x7fELF",
        b"\x7fELF\x02\x01",
        b"#!/bin/sh\n",
        &[b"\x7fELF\x02\x01\x01", &[0xff; 1000][..]].concat(),
    ] {
        assert_eq!(read(bytes, 1), BuiltIn::default());
    }
}
