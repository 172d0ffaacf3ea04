use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use tempfile::TempDir;

use super::*;

/// A folder on the tmpfs that every Linux has.
fn memory() -> TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").expect("/dev/shm is needed for these tests: mount a tmpfs there");
    let kind = rustix::fs::statfs(folder.path()).unwrap().f_type;
    assert_eq!(kind, 0x0102_1994, "/dev/shm must be a tmpfs: mount -t tmpfs tmpfs /dev/shm");
    folder
}

fn output(path: &Path) -> Output {
    Output { directory: path.to_owned(), uid: None, gid: None }
}

fn open_in(folder: &TempDir) -> OutputDir {
    OutputDir::open(&output(folder.path())).unwrap()
}

fn file(name: &str, content: &str) -> OutFile {
    OutFile { name: name.to_owned(), mode: 0o400, content: Content::New(SecretBytes::copied_from(content.as_bytes())) }
}

fn keep(name: &str) -> OutFile {
    OutFile { name: name.to_owned(), mode: 0o400, content: Content::Keep }
}

fn read(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap()
}

fn names(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn folders(folder: &TempDir) -> usize {
    names(folder).iter().filter(|name| is_folder_name(name)).count()
}

#[test]
fn files_are_links_into_the_folder_that_data_names() {
    let folder = memory();
    assert_eq!(open_in(&folder).write(&[file("a", "one"), file(".b", "two")]).unwrap(), Written::Changed);
    assert_eq!((read(&folder, "a"), read(&folder, ".b")), ("one".to_owned(), "two".to_owned()));
    assert_eq!(fs::read_link(folder.path().join("a")).unwrap(), Path::new("..data/a"));
    let data = fs::read_link(folder.path().join("..data")).unwrap();
    assert!(is_folder_name(data.to_str().unwrap()), "{data:?}");
    assert_eq!(names(&folder).len(), 4);
}

#[test]
fn files_are_for_their_owner_alone_unless_told_otherwise() {
    let folder = memory();
    let open = OutFile { mode: 0o444, ..file("open", "x") };
    open_in(&folder).write(&[file("a", "one"), open]).unwrap();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("a"), mode("open"), mode("..data")), (0o400, 0o444, 0o755));
}

#[test]
fn a_change_swaps_all_files_and_leaves_nothing_of_the_old() {
    let folder = memory();
    let output = open_in(&folder);
    output.write(&[file("a", "1"), file("b", "1"), file("gone", "1")]).unwrap();
    let held = fs::File::open(folder.path().join("a")).unwrap();
    assert_eq!(output.write(&[file("a", "2"), file("b", "1")]).unwrap(), Written::Changed);
    assert_eq!((read(&folder, "a"), read(&folder, "b")), ("2".to_owned(), "1".to_owned()));
    assert_eq!(folders(&folder), 1);
    assert_eq!(names(&folder).len(), 4, "{:?}", names(&folder));
    assert_eq!(io::read_to_string(held).unwrap(), "1", "a reader of the old file keeps what it opened");
}

#[test]
fn the_same_content_touches_nothing() {
    let folder = memory();
    open_in(&folder).write(&[file("a", "1")]).unwrap();
    let data = fs::read_link(folder.path().join("..data")).unwrap();
    assert_eq!(open_in(&folder).write(&[file("a", "1")]).unwrap(), Written::Same);
    assert_eq!(fs::read_link(folder.path().join("..data")).unwrap(), data);
    let other_mode = OutFile { mode: 0o440, ..file("a", "1") };
    assert_eq!(open_in(&folder).write(&[other_mode]).unwrap(), Written::Changed);
    assert_eq!(open_in(&folder).write(&[file("a", "12")]).unwrap(), Written::Changed);
    assert_eq!(open_in(&folder).write(&[file("a", "12"), file("b", "")]).unwrap(), Written::Changed);
    assert_eq!(open_in(&folder).write(&[file("a", "12")]).unwrap(), Written::Changed);
}

#[test]
fn a_file_can_be_kept_while_others_change() {
    let folder = memory();
    let output = open_in(&folder);
    assert!(matches!(output.write(&[keep("a")]), Err(OutputError::Keep { .. })));
    output.write(&[file("a", "old"), file("b", "1")]).unwrap();
    assert_eq!(output.write(&[keep("a"), file("b", "1")]).unwrap(), Written::Same);
    assert_eq!(output.write(&[keep("a"), file("b", "2")]).unwrap(), Written::Changed);
    assert_eq!((read(&folder, "a"), read(&folder, "b")), ("old".to_owned(), "2".to_owned()));
}

#[test]
fn a_folder_that_is_not_on_tmpfs_is_refused() {
    // One file system that every Linux has, and that is no memory of ours.
    let message = OutputDir::open(&output(Path::new("/proc"))).err().unwrap().to_string();
    assert!(message.starts_with("/proc is on a file system of type 0x9fa0, not on tmpfs"), "{message}");
    assert!(message.contains("emptyDir: {medium: Memory"), "{message}");
}

#[test]
fn a_folder_that_is_a_link_or_missing_is_refused() {
    let folder = memory();
    fs::create_dir(folder.path().join("real")).unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    for name in ["link", "missing"] {
        let refused = OutputDir::open(&output(&folder.path().join(name)));
        assert!(matches!(refused, Err(OutputError::Open { .. })), "{name}");
    }
}

#[test]
fn planted_links_are_replaced_and_never_followed() {
    let folder = memory();
    let elsewhere = memory();
    fs::write(elsewhere.path().join("victim"), "untouched").unwrap();
    for name in ["a", "..data", "..data_tmp", "..link_tmp"] {
        symlink(elsewhere.path().join("victim"), folder.path().join(name)).unwrap();
    }
    // One that looks like a folder of ours, and leads away.
    symlink(elsewhere.path(), folder.path().join("..2020_01_01")).unwrap();
    open_in(&folder).write(&[file("a", "secret")]).unwrap();
    assert_eq!(read(&folder, "a"), "secret");
    assert_eq!(read(&elsewhere, "victim"), "untouched");
    assert_eq!(names(&elsewhere), ["victim"]);
    open_in(&folder).write(&[file("a", "again")]).unwrap();
    assert_eq!(read(&elsewhere, "victim"), "untouched");
}

#[test]
fn a_current_folder_that_leads_away_is_not_believed() {
    let folder = memory();
    let elsewhere = memory();
    fs::write(elsewhere.path().join("a"), "planted").unwrap();
    symlink(elsewhere.path(), folder.path().join("..data")).unwrap();
    symlink("..data/a", folder.path().join("a")).unwrap();
    let output = open_in(&folder);
    assert_eq!(output.missing(["a"].into_iter()), ["a"]);
    assert!(matches!(output.write(&[keep("a")]), Err(OutputError::Keep { .. })));
}

#[test]
fn what_is_not_the_agents_is_not_replaced() {
    let folder = memory();
    fs::write(folder.path().join("a"), "somebody's").unwrap();
    let message = open_in(&folder).write(&[file("a", "secret")]).unwrap_err().to_string();
    assert!(message.contains("/a is in the way"), "{message}");
    assert_eq!(read(&folder, "a"), "somebody's");
    assert_eq!(names(&folder), ["a"]);

    let folder = memory();
    fs::create_dir(folder.path().join("..data")).unwrap();
    assert!(matches!(open_in(&folder).write(&[file("a", "x")]), Err(OutputError::InTheWay { .. })));
    assert_eq!(names(&folder), ["..data"]);
}

#[test]
fn what_a_killed_agent_left_is_cleaned_up() {
    let folder = memory();
    fs::create_dir(folder.path().join("..2020_01_01_00_00_00_000000000")).unwrap();
    fs::write(folder.path().join("..2020_01_01_00_00_00_000000000/a"), "half").unwrap();
    symlink("..2020_01_01_00_00_00_000000000", folder.path().join("..data_tmp")).unwrap();
    open_in(&folder).write(&[file("a", "whole")]).unwrap();
    assert_eq!(read(&folder, "a"), "whole");
    assert_eq!(folders(&folder), 1);
    assert!(!names(&folder).contains(&"..data_tmp".to_owned()));
}

#[test]
fn a_failed_write_changes_nothing() {
    let folder = memory();
    open_in(&folder).write(&[file("a", "1")]).unwrap();
    let before = names(&folder);
    // A name that no file system takes fails in the middle, after the first file.
    let too_long = "x".repeat(300);
    let failed = open_in(&folder).write(&[file("a", "2"), OutFile { name: too_long, ..file("", "2") }]);
    assert!(failed.is_err());
    assert_eq!(names(&folder), before);
    assert_eq!(read(&folder, "a"), "1");
}

#[test]
fn owner_and_group_are_given_or_refused_clearly() {
    let folder = memory();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let own = Output { uid: Some(uid), gid: Some(gid), ..output(folder.path()) };
    OutputDir::open(&own).unwrap().write(&[file("a", "1")]).unwrap();
    assert_eq!(fs::metadata(folder.path().join("a")).unwrap().uid(), uid);

    let other = Output { uid: Some(uid + 1), gid: None, ..output(folder.path()) };
    let given = OutputDir::open(&other).unwrap().write(&[file("a", "2")]);
    if uid == 0 {
        given.unwrap();
        assert_eq!(fs::metadata(folder.path().join("a")).unwrap().uid(), 1);
    } else {
        let message = given.unwrap_err().to_string();
        assert!(message.contains("runAsUser"), "{message}");
        assert_eq!(read(&folder, "a"), "1");
    }
}

#[test]
fn missing_files_are_named() {
    let folder = memory();
    let output = open_in(&folder);
    assert_eq!(output.missing(["a", "b"].into_iter()), ["a", "b"]);
    output.write(&[file("a", "1")]).unwrap();
    assert_eq!(output.missing(["a", "b"].into_iter()), ["b"]);
    fs::remove_file(folder.path().join("a")).unwrap();
    assert_eq!(output.missing(["a"].into_iter()), ["a"]);
    assert_eq!(output.write(&[file("a", "1")]).unwrap(), Written::Same);
    assert_eq!(output.missing(["a"].into_iter()), Vec::<&str>::new());
}

#[test]
fn folder_names_tell_the_time() {
    let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(1_700_000_000_123_456_789);
    assert_eq!(folder_name(time), "..2023_11_14_22_13_20_123456789");
    for name in ["..data", "..data_tmp", "..", "..2020/../x", "2020", "..2020_x", "..link_tmp"] {
        assert!(!is_folder_name(name), "{name}");
    }
}
