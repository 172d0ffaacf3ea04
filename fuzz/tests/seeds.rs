//! Every target reads its seeds, and thousands of changes of them.
//!
//! `COFFER_TEST_SEED=N` repeats the changes of a run that printed it; `COFFER_TEST_LONG=1` makes a hundred times as many.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "these are tests: a panic is a failure")]

mod golden;

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use coffer_fuzz::{
    TARGETS, Target,
    mutate::{Numbers, changed},
    target,
};
use coffer_packages::{Database, Importer, Program};

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name)
}

fn seeds(target: &Target) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut seeds = Vec::new();
    for entry in fs::read_dir(folder(target)).with_context(|| format!("seeds of {}", target.name))? {
        let path = entry?.path();
        let bytes = fs::read(&path)?;
        seeds.push((path, bytes));
    }
    seeds.sort();
    ensure!(seeds.len() >= 3, "{} has {} seeds", target.name, seeds.len());
    Ok(seeds)
}

/// Checks one input; where that fails, says with which.
fn check(target: &Target, what: &str, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.check)(input))) {
        println!("{}: {what}: {:?}", target.name, String::from_utf8_lossy(input));
        resume_unwind(panic);
    }
}

fn holds(name: &str) -> Result<()> {
    let target = target(name).context("there is such a target")?;
    let seeds = seeds(target)?;
    for (path, seed) in &seeds {
        check(target, &path.display().to_string(), seed);
    }
    check(target, "nothing at all", &[]);
    let number = match env::var("COFFER_TEST_SEED") {
        Ok(number) => number.parse()?,
        Err(_) => u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() & u128::from(u64::MAX))?,
    };
    println!("COFFER_TEST_SEED={number}");
    let changes = if env::var_os("COFFER_TEST_LONG").is_some() { 100 * target.changes } else { target.changes };
    let bytes: Vec<_> = seeds.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let mut numbers = Numbers::new(number);
    for change in 0..changes {
        let input = changed(&mut numbers, &bytes, target.words, target.bytes_max);
        check(target, &format!("change {change} of COFFER_TEST_SEED={number}"), &input);
    }
    Ok(())
}

macro_rules! targets {
    ($($test:ident = $name:literal;)*) => {
        $(#[test]
        fn $test() -> Result<()> {
            holds($name)
        })*

        #[test]
        fn every_target_is_tried() {
            let tried = [$($name),*];
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), tried);
        }
    };
}

targets! {
    paths_are_canonical_or_refused = "path";
    only_tokens_that_were_issued_open = "token";
    only_values_that_were_written_open = "envelope";
    texts_of_policies_pass_the_check_as_they_can_be_used = "policy";
    snapshots_are_restored_whole_or_leave_nothing = "snapshot";
    configurations_of_the_agent_are_sound_or_refused = "agent-config";
    templates_are_bounded_and_tell_no_value = "template";
    files_of_a_host_become_bounded_facts = "host";
    names_of_images_are_read_in_one_way_or_refused = "image";
    layers_are_looked_at_whole_or_said_not_to_be = "layer";
    secrets_are_found_alike_however_a_text_is_read = "secret";
    signatures_are_somebodys_and_say_what_is_in_them = "signature";
    pods_of_manifests_are_judged_or_refused = "workload";
    packages_of_databases_have_names_that_are_short_and_plain = "package";
    what_is_built_into_a_program_is_found_alike_however_it_is_read = "program";
    versions_have_one_order = "version";
    advisories_are_kept_as_they_are_read_or_refused = "advisory";
    whoever_is_told_of_may_do_what_is_told = "access";
    archives_of_images_are_opened_or_refused = "archive";
}

/// What is refused at once tries little: most seeds are good ones.
#[test]
fn seeds_reach_what_they_are_for() -> Result<()> {
    let text = |name: &str| -> Result<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    for name in ["policy/permit", "policy/forbid", "policy/when"] {
        let findings = coffer_core::policy::Policies::lint(&text(name)?);
        ensure!(findings.iter().all(|finding| !finding.error), "{name}: {findings:?}");
    }
    let fields: &[(&str, &[u8])] = &[("field", b"value"), ("binary", b"\xff"), ("empty", b"")];
    for name in ["template/usual", "template/loop"] {
        let rendered = coffer_agent::reading::template(&text(name)?, fields);
        ensure!(rendered.is_ok(), "{name}: {rendered:?}");
    }
    for name in ["agent-config/usual", "agent-config/short"] {
        let read = coffer_agent::reading::config(&text(name)?);
        ensure!(read.is_ok(), "{name}: {read:?}");
    }
    for (name, packages) in [("package/debian", 3), ("package/alpine", 2)] {
        let database = if name.ends_with("alpine") { Database::Apk } else { Database::Dpkg };
        ensure!(database.read(text(name)?.as_bytes()).packages.len() == packages, "{name}");
    }
    for (name, packages) in [("program/modules", 5), ("program/crates", 2), ("program/both", 7), ("program/old", 5)] {
        let mut program = Program::default();
        program.feed(&fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name))?);
        let built = program.finish();
        ensure!(built.listed.packages.len() == packages && built.unread.is_none(), "{name}: {built:?}");
    }
    for (name, end) in [("advisory/go", "json"), ("advisory/debian", "json"), ("advisory/rustsec", "md")] {
        let mut importer = Importer::new("2026-01-01".parse().map_err(anyhow::Error::msg)?);
        importer.add(&format!("{name}.{end}"), text(name)?.as_bytes())?;
        ensure!(importer.finish().0.len() == 1, "{name}");
    }
    for name in ["access/exec", "access/gathered", "access/list"] {
        let rbac = coffer_checks::access::Rbac::read(&[serde_json::from_str(&text(name)?)?])?;
        let everybody = coffer_checks::access::judge("kv/shop/api", &rbac, &[], "coffer");
        ensure!(rbac.len() >= 2 && everybody.findings.iter().any(|finding| finding.counts()), "{name}: {everybody:?}");
    }
    for (name, layers) in [("archive/oci", 1), ("archive/docker", 2), ("archive/several", 1)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
        let choice = coffer_images::Choice { name: None, platform: Some("linux/amd64".to_owned()) };
        let image = coffer_images::Image::open(&path, &choice)?;
        ensure!(image.layers.len() == layers, "{name} has {} layers", image.layers.len());
    }
    for name in ["image/short", "image/whole", "image/address"] {
        let read = text(name)?.parse::<coffer_registry::Reference>();
        ensure!(read.is_ok(), "{name}: {read:?}");
    }
    Ok(())
}
