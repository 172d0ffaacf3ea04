//! Recorded hosts: what is found on each.

mod node;

use std::collections::{BTreeMap, BTreeSet};

use proptest::{
    prelude::{ProptestConfig, any},
    test_runner::TestRunner,
};

use self::node::Node;
use super::*;
use crate::{Status, Tier};

/// What a check finds on a node: the worst of its findings, with its evidence.
fn found(report: &Report, id: &str) -> (Status, String) {
    let finding = report.findings.iter().filter(|finding| finding.check.id == id).min_by_key(|finding| finding.status);
    let finding = finding.unwrap_or_else(|| panic!("{id} finds nothing"));
    (finding.status, format!("{} {}", finding.subject, finding.evidence))
}

fn expect(node: &Node, id: &str, status: Status, evidence: &str) {
    let (is, says) = found(&node.judged(), id);
    assert!(is == status && says.contains(evidence), "{id} should be {status} with {evidence:?}, but is {is}: {says}");
}

#[test]
fn on_a_hardened_node_everything_passes() {
    for finding in Node::hardened().judged().findings {
        assert_eq!(finding.status, Status::Pass, "{}: {} {}", finding.check.id, finding.subject, finding.evidence);
    }
}

#[test]
fn on_a_lax_node_everything_fails() {
    let report = Node::lax().judged();
    for check in checks() {
        let (status, says) = found(&report, check.id);
        assert_eq!(status, Status::Fail, "{}: {says}", check.id);
    }
}

#[test]
fn where_nothing_is_seen_everything_is_unknown() {
    let report = Node::empty().judged();
    for finding in &report.findings {
        let checks_images = matches!(finding.check.id, "HST-40" | "HST-90");
        let expected = if checks_images { Status::NotApplicable } else { Status::Unknown };
        assert_eq!(finding.status, expected, "{}: {} {}", finding.check.id, finding.subject, finding.evidence);
    }
}

#[test]
fn a_machine_without_kubernetes_and_docker_is_not_judged_by_them() {
    let report = Node::plain().judged();
    for check in checks() {
        let (status, says) = found(&report, check.id);
        let number: u32 = check.id.strip_prefix("HST-").unwrap().parse().unwrap();
        let is_about_them = check.id == "HST-04" || check.id == "HST-40" || number >= 52;
        let expected =
            if is_about_them || matches!(check.id, "HST-05" | "HST-47") { Status::NotApplicable } else { Status::Pass };
        assert_eq!(status, expected, "{}: {says}", check.id);
    }
}

#[test]
fn a_worker_has_no_control_plane_and_is_judged_by_the_rest() {
    let node = Node::hardened();
    node.ends(30).ends(31);
    node.remove("/etc/kubernetes/manifests").remove("/var/lib/etcd");
    for id in ["HST-85", "HST-86", "HST-87", "HST-88", "HST-89", "HST-91"] {
        expect(&node, id, Status::NotApplicable, "runs here");
    }
    expect(&node, "HST-71", Status::Pass, "");
}

/// What a wrong path must never be: passed. Each of the files that settings come from is taken away, one at a time.
#[test]
fn a_file_that_is_missing_never_makes_a_check_pass() {
    let usual: BTreeMap<_, _> =
        Node::hardened().judged().findings.into_iter().map(|f| ((f.check.id, f.subject), f.evidence)).collect();
    for (path, ids) in [
        ("/proc/swaps", &["HST-01"][..]),
        ("/proc/1/mountinfo", &["HST-04", "HST-39", "HST-40", "HST-56"]),
        ("/proc/1/net/tcp", &["HST-74"]),
        ("/proc/sys/fs/suid_dumpable", &["HST-06"]),
        ("/proc/sys/kernel/randomize_va_space", &["HST-16"]),
        ("/proc/sys/kernel/seccomp/actions_avail", &["HST-32"]),
        ("/var/lib/kubelet/config.yaml", &["HST-71", "HST-72", "HST-73", "HST-74", "HST-82", "HST-81"]),
        ("/var/lib/kubelet/config.d", &["HST-71", "HST-72", "HST-73", "HST-74", "HST-82", "HST-81"]),
        ("/var/lib/kubelet/pods", &["HST-52"]),
        ("/run/docker.sock", &["HST-53"]),
        ("/run/containerd/containerd.sock", &["HST-55"]),
        ("/etc/containerd/config.toml", &["HST-54", "HST-55", "HST-57"]),
        ("/etc/docker/key.pem", &["HST-64"]),
        ("/etc/kubernetes/encryption.yaml", &["HST-87"]),
        ("/etc/kubernetes/audit.yaml", &["HST-88"]),
        ("/etc/passwd", &["HST-46"]),
        ("/etc/shadow", &["HST-46"]),
    ] {
        let node = Node::hardened();
        node.remove(path);
        let report = node.judged();
        for id in ids {
            let (status, says) = found(&report, id);
            assert_eq!(status, Status::Unknown, "{id} without {path}: {says}");
        }
        for finding in report.findings.iter().filter(|finding| finding.status == Status::Pass) {
            assert!(
                usual.contains_key(&(finding.check.id, finding.subject.clone())),
                "without {path}, {} passes anew: {} {}",
                finding.check.id,
                finding.subject,
                finding.evidence
            );
        }
    }
}

#[test]
fn a_process_that_is_missing_is_unknown_where_it_left_traces() {
    for (id, checks) in
        [(10, &["HST-71", "HST-72", "HST-73", "HST-74", "HST-82"][..]), (30, &["HST-85", "HST-86"]), (31, &["HST-89"])]
    {
        let node = Node::hardened();
        node.ends(id);
        for check in checks {
            expect(&node, check, Status::Unknown, "is there, but no");
        }
    }
}

#[test]
fn what_a_container_calls_itself_counts_for_nothing() {
    let node = Node::hardened();
    node.process(99, "kubelet", &["kubelet", "--anonymous-auth=true"]).link("/proc/99/ns/pid", "pid:[4026532000]");
    expect(&node, "HST-71", Status::Pass, "");
    let node = Node::lax();
    node.process(99, "kubelet", &["kubelet", "--config=/good.yaml"]).link("/proc/99/ns/pid", "pid:[4026532000]");
    node.file("/good.yaml", "authentication: {anonymous: {enabled: false}}");
    expect(&node, "HST-71", Status::Fail, "");
}

#[test]
fn of_a_kubelet_flags_win_over_drop_ins_and_these_over_the_file() {
    let kubelet = |more: &[&str]| {
        let node = Node::hardened();
        let usual = ["/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml", "--config-dir", "/var/lib/kubelet/config.d"];
        node.process(10, "kubelet", &[&usual[..], more].concat());
        node
    };
    let node = kubelet(&["--anonymous-auth=true"]);
    expect(&node, "HST-71", Status::Fail, "(--anonymous-auth)");
    let node = kubelet(&[]);
    node.file("/var/lib/kubelet/config.d/90.conf", "authentication: {anonymous: {enabled: true}}");
    expect(&node, "HST-71", Status::Fail, "90.conf");
    node.file("/var/lib/kubelet/config.d/95.conf", "authentication: {anonymous: {enabled: false}}");
    expect(&node, "HST-71", Status::Pass, "95.conf");
    // What does not end with .conf is not read; folders below are.
    node.file("/var/lib/kubelet/config.d/96.yaml", "authentication: {anonymous: {enabled: true}}");
    expect(&node, "HST-71", Status::Pass, "95.conf");
    node.file("/var/lib/kubelet/config.d/97/x.conf", "authentication: {anonymous: {enabled: true}}");
    expect(&node, "HST-71", Status::Fail, "97/x.conf");
    // Null takes a setting away, so that the default holds.
    node.file("/var/lib/kubelet/config.d/98.conf", "authentication: {anonymous: null}");
    expect(&node, "HST-71", Status::Pass, "the default");
    let node = kubelet(&["--anonymous-auth=false", "--authorization-mode", "AlwaysAllow", "--read_only_port=10255"]);
    node.file("/var/lib/kubelet/config.yaml", "authentication: {anonymous: {enabled: true}}");
    expect(&node, "HST-71", Status::Pass, "(--anonymous-auth)");
    expect(&node, "HST-72", Status::Fail, "AlwaysAllow (--authorization-mode)");
    expect(&node, "HST-74", Status::Fail, "10255 (--read-only-port)");
    // YAML's older words for true are not guessed at.
    let node = kubelet(&[]);
    node.file("/var/lib/kubelet/config.d/90.conf", "authentication: {anonymous: {enabled: \"no\"}}");
    expect(&node, "HST-71", Status::Unknown, "not of the kind");
    node.file("/var/lib/kubelet/config.d/90.conf", "a: [");
    expect(&node, "HST-71", Status::Unknown, "is not the YAML");
    // Without any file the defaults are the older, open ones.
    let node = Node::hardened();
    node.process(10, "kubelet", &["kubelet", "--client-ca-file=/ca"]);
    expect(&node, "HST-71", Status::Fail, "the default");
    expect(&node, "HST-72", Status::Fail, "AlwaysAllow (the default)");
    expect(&node, "HST-73", Status::Pass, "/ca (--client-ca-file)");
    expect(&node, "HST-74", Status::Fail, "10255 (the default)");
}

#[test]
fn a_port_that_is_open_counts_for_more_than_settings() {
    let node = Node::hardened();
    node.listens(10_255);
    expect(&node, "HST-74", Status::Fail, "but port 10255 is open");
    let node = Node::hardened();
    node.file("/etc/docker/daemon.json", "{}").listens(2375);
    expect(&node, "HST-54", Status::Fail, "port 2375 is open");
}

#[test]
fn a_kubelet_within_another_program_is_unknown() {
    let node = Node::hardened();
    node.ends(10).process(40, "k3s-server", &["/usr/local/bin/k3s server"]);
    expect(&node, "HST-71", Status::Unknown, "k3s-server has the kubelet within itself");
    // One program that is several is told from what it was asked to be.
    let node = Node::hardened();
    node.process(10, "hyperkube", &["hyperkube", "kubelet", "--anonymous-auth=true"]);
    expect(&node, "HST-71", Status::Fail, "");
}

#[test]
fn swap_is_judged_by_what_it_lies_on() {
    let swap = |line: &str| {
        let node = Node::hardened();
        node.file("/proc/swaps", &format!("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n{line}\n"));
        node
    };
    expect(&swap("/dev/dm-0 partition 1 0 -2"), "HST-01", Status::Pass, "encrypted");
    expect(&swap("/dev/mapper/swap partition 1 0 -2"), "HST-01", Status::Pass, "encrypted");
    // A volume of LVM is as good as the disks below it.
    expect(&swap("/dev/dm-1 partition 1 0 -2"), "HST-01", Status::Pass, "encrypted");
    expect(&swap("/dev/dm-2 partition 1 0 -2"), "HST-01", Status::Fail, "not encrypted");
    expect(&swap("/dev/sda1 partition 1 0 -2"), "HST-01", Status::Fail, "/dev/sda1");
    expect(&swap("/dev/zram0 partition 1 0 100"), "HST-01", Status::Pass, "memory");
    let node = swap("/dev/zram0 partition 1 0 100");
    node.file("/sys/devices/zram0/backing_dev", "/dev/sda1\n");
    expect(&node, "HST-01", Status::Fail, "not encrypted");
    // A file is as good as the file system that it is in.
    expect(&swap("/swap\\040file file 1 0 -2"), "HST-01", Status::Fail, "/swap file");
    expect(&swap("/var/lib/containerd/swap file 1 0 -2"), "HST-01", Status::Pass, "encrypted");
    expect(&swap("/dev/sdz partition 1 0 -2"), "HST-01", Status::Unknown, "not seen");
    expect(&swap("/dev/sda1 odd 1 0 -2"), "HST-01", Status::Unknown, "cannot be understood");
    // With swap in plain, a pod's memory needs what keeps it from there.
    let node = swap("/dev/sda1 partition 1 0 -2");
    expect(&node, "HST-04", Status::Pass, "noswap");
    node.mounts(&[(&node::secrets("pod-b"), "0:60", "tmpfs", "tmpfs", "rw")]);
    expect(&node, "HST-04", Status::Fail, "without noswap");
    let node = Node::hardened();
    node.mounts(&[(&node::secrets("pod-b"), "8:1", "ext4", "/dev/sda1", "rw")]);
    expect(&node, "HST-04", Status::Fail, "is ext4");
}

#[test]
fn registries_without_proof_are_found_wherever_they_are_set() {
    for (path, text, name) in [
        ("/etc/docker/daemon.json", r#"{"insecure-registries": ["registry.example:5000"]}"#, "registry.example:5000"),
        ("/etc/docker/daemon.json", r#"{"registry-mirrors": ["http://mirror.example"]}"#, "http://mirror.example"),
        ("/etc/containerd/certs.d/a.example/hosts.toml", "server = \"http://a.example\"", "http://a.example"),
        ("/etc/containerd/certs.d/a.example/hosts.toml", "[host.\"http://b.example\"]", "http://b.example"),
        ("/etc/containerd/certs.d/a.example/hosts.toml", "[host.\"https://b.example\"]\nskip_verify = true", "https://b.example"),
        (
            "/etc/containerd/conf.d/more.toml",
            "[plugins.'io.containerd.cri.v1.images'.registry.mirrors.\"c\"]\nendpoint = ['http://c']",
            "http://c",
        ),
        (
            "/etc/containerd/conf.d/more.toml",
            "[plugins.'io.containerd.grpc.v1.cri'.registry.configs.\"d\".tls]\ninsecure_skip_verify = true",
            "d ",
        ),
        ("/etc/containers/registries.conf.d/x.conf", "[[registry]]\nlocation = 'e.example'\ninsecure = true", "e.example"),
        ("/etc/containers/registries.conf", "[registries.insecure]\nregistries = ['f.example']", "f.example"),
    ] {
        let node = Node::hardened();
        node.file(path, text);
        expect(&node, "HST-57", Status::Fail, name);
    }
    let node = Node::hardened();
    node.file("/etc/containerd/certs.d/here/hosts.toml", "server = \"http://127.0.0.1:5000\"");
    expect(&node, "HST-57", Status::Pass, "");
    node.file("/etc/containerd/certs.d/odd/hosts.toml", "server = ");
    expect(&node, "HST-57", Status::Unknown, "odd/hosts.toml is not the TOML");
    node.file("/etc/containerd/conf.d/more.toml", "imports = 3\n]");
    expect(&node, "HST-57", Status::Unknown, "more.toml");
}

#[test]
fn a_socket_in_a_container_is_found_by_what_it_is_not_by_its_name() {
    // The folder above it, under another name.
    let node = Node::hardened();
    node.container(50, "sh", &["1 0 0:70 / / rw - overlay overlay rw", "2 1 0:20 /containerd /mnt/x rw - tmpfs tmpfs rw"]);
    expect(&node, "HST-56", Status::Fail, "/mnt/x/containerd.sock");
    let node = Node::hardened();
    node.container(50, "sh", &["1 0 0:70 / / rw - overlay overlay rw", "2 1 0:20 /docker.sock /s rw - tmpfs tmpfs rw"]);
    expect(&node, "HST-56", Status::Fail, "sh: /var/run/docker.sock a container with the program sh has it at /s");
    // Another folder of the same file system, another file system, and a service of the host with mounts of its own.
    for mounts in [
        &["1 0 0:70 / / rw - overlay overlay rw", "2 1 0:20 /lock /lock rw - tmpfs tmpfs rw"][..],
        &["1 0 0:70 / / rw - overlay overlay rw", "2 1 0:71 / /run rw - tmpfs tmpfs rw"],
        &["1 0 8:1 / / rw - ext4 /dev/sda1 rw", "2 1 0:20 / /run rw - tmpfs tmpfs rw"],
    ] {
        let node = Node::hardened();
        node.container(50, "service", mounts);
        expect(&node, "HST-56", Status::Pass, "");
    }
    // Whoever looks has it, too, and is no other than that.
    let node = Node::hardened();
    for id in [50, 51] {
        node.container(id, "sh", &["1 0 0:70 / / rw - overlay overlay rw", "2 1 0:20 / /host/run rw - tmpfs tmpfs rw"]);
    }
    node.link("/proc/self", "50");
    expect(&node, "HST-56", Status::Fail, "/host/run/containerd/containerd.sock");
    node.ends(51);
    expect(&node, "HST-56", Status::Pass, "");
}

/// At a limit things are known, past it they are not.
fn at_and_past(limit: usize, id: &str, node: impl Fn(usize) -> Node) {
    expect(&node(limit), id, Status::Pass, "");
    expect(&node(limit + 1), id, Status::Unknown, "");
}

#[test]
fn files_that_are_too_long_are_unknown() {
    let padded = |path: &'static str, start: &'static [u8], by: u8| {
        move |length: usize| {
            let node = Node::hardened();
            node.bytes(path, &[start, vec![by; length - start.len()].as_slice()].concat());
            node
        }
    };
    at_and_past(gather::VALUE_BYTES_MAX, "HST-06", padded("/proc/sys/fs/suid_dumpable", b"0", b' '));
    let kubelet = b"authentication: {anonymous: {enabled: false}}\n#";
    at_and_past(gather::SETTINGS_BYTES_MAX, "HST-71", padded("/var/lib/kubelet/config.yaml", kubelet, b'x'));
    let listeners = b"head\n 0: 0100007F:1F90 00000000:0000 01 ";
    at_and_past(gather::KERNEL_LIST_BYTES_MAX, "HST-74", padded("/proc/1/net/tcp", listeners, b'x'));
    let command = b"kubelet\0--config=/var/lib/kubelet/config.yaml\0--node-labels=";
    at_and_past(gather::COMMAND_BYTES_MAX, "HST-71", padded("/proc/10/cmdline", command, b'x'));
}

#[test]
fn more_files_and_folders_than_are_followed_are_unknown() {
    at_and_past(gather::DROP_INS_MAX, "HST-71", |count| {
        let node = Node::hardened();
        for number in 0..count {
            node.file(&format!("/var/lib/kubelet/config.d/{number}.conf"), "readOnlyPort: 0");
        }
        node
    });
    at_and_past(gather::DROP_IN_DEPTH_MAX, "HST-71", |depth| {
        let node = Node::hardened();
        node.file(&format!("/var/lib/kubelet/config.d/{}a.conf", "x/".repeat(depth)), "readOnlyPort: 0");
        node
    });
    at_and_past(gather::IMPORTS_MAX, "HST-57", |count| {
        let node = Node::hardened();
        for number in 0..count {
            node.file(&format!("/etc/containerd/conf.d/{number}.toml"), "");
        }
        node
    });
    at_and_past(gather::DEVICE_DEPTH_MAX, "HST-01", |depth| {
        let node = Node::hardened();
        for number in 0..depth {
            node.block(
                &format!("dm-{}", 100 + number),
                &format!("250:{number}"),
                Some(("x", "LVM-1")),
                &[&format!("dm-{}", 101 + number)],
            );
        }
        node.block(&format!("dm-{}", 100 + depth), "250:99", Some(("x", "CRYPT-LUKS2-1")), &[]);
        node.file("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/dm-100 partition 1 0 -2\n");
        node
    });
}

#[test]
fn the_volume_that_is_looked_for_is_the_injector_s() {
    let injector = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../injector/webhook/src/injection.rs")).unwrap();
    assert!(injector.contains(&format!("SECRETS_VOLUME: &str = \"{}\";", mounts::SECRETS_VOLUME)));
}

#[test]
fn docker_s_files_of_tls_are_where_they_are_usually_unless_it_is_told() {
    let node = Node::hardened();
    node.file("/etc/docker/daemon.json", r#"{"tlsverify": true}"#);
    expect(&node, "HST-64", Status::Unknown, "/root/.docker/");
    for file in ["ca", "cert", "key"] {
        node.file(&format!("/root/.docker/{file}.pem"), "");
    }
    expect(&node, "HST-64", Status::Pass, "");
    node.mode("/root/.docker/key.pem", 0o640);
    expect(&node, "HST-64", Status::Fail, "/root/.docker/key.pem mode 0640");
}

#[test]
fn audit_policies_are_read_in_their_order() {
    let policy = |rules: &str| {
        let node = Node::hardened();
        node.file("/etc/kubernetes/audit.yaml", &format!("rules:\n{rules}"));
        node
    };
    expect(&policy("- {level: RequestResponse}"), "HST-88", Status::Fail, "rule 1 has RequestResponse");
    expect(
        &policy("- {level: Metadata, resources: [{group: '', resources: [secrets]}]}\n- {level: Request}"),
        "HST-88",
        Status::Pass,
        "rule 1",
    );
    expect(
        &policy("- {level: Metadata, users: [a], resources: [{group: '', resources: [secrets]}]}\n- {level: Request}"),
        "HST-88",
        Status::Fail,
        "rule 2",
    );
    expect(&policy("- {level: Request, resources: [{group: apps}]}"), "HST-88", Status::Pass, "no rule");
    expect(&policy("- {level: Everything}"), "HST-88", Status::Unknown, "Everything");
}

#[test]
fn keys_of_an_encryption_configuration_are_in_no_fact() {
    let node = Node::hardened();
    let facts = serde_json::to_string(&node.facts()).unwrap();
    assert!(facts.contains("secretbox") && !facts.contains(node::KEY) && !facts.contains(node::HASH), "{facts}");
}

#[test]
fn facts_of_another_version_are_unknown() {
    let mut facts = Node::hardened().facts();
    facts.version += 1;
    assert!(judge("x", &facts).findings.iter().all(|finding| finding.status == Status::Unknown));
}

#[test]
fn facts_are_sent_and_read_back() {
    for node in [Node::hardened(), Node::lax(), Node::empty()] {
        let facts = node.facts();
        let text = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<HostFacts>(&text).unwrap(), facts);
        let more = text.replacen('{', "{\"more\": 1,", 1);
        assert!(serde_json::from_str::<HostFacts>(&more).is_err());
    }
}

#[test]
fn this_machine_is_read_and_told_of() {
    let facts = HostFacts::gather(&Root::open("/".as_ref()).unwrap());
    let text = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<HostFacts>(&text).unwrap(), facts);
    let report = judge("here", &facts);
    let ids: BTreeSet<_> = report.findings.iter().map(|finding| finding.check.id).collect();
    assert_eq!(ids.len(), checks().count());
    let random = std::fs::read_to_string("/proc/sys/kernel/randomize_va_space").unwrap();
    assert_eq!(found(&report, "HST-16").0, if random.trim() == "2" { Status::Pass } else { Status::Fail });
}

#[test]
fn every_check_has_an_id_of_its_own_and_those_of_the_gate_are_all_there() {
    let ids: Vec<_> = checks().map(|check| check.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    let gate: BTreeSet<_> = checks().filter(|check| check.tier == Tier::Gate).map(|check| check.id).collect();
    let expected = [1, 4, 6, 16, 32, 52, 53, 54, 55, 56, 57, 64, 71, 72, 73, 74, 82, 86].map(|number| format!("HST-{number:02}"));
    assert_eq!(gate, expected.iter().map(String::as_str).collect());
}

/// Whatever is in any of the files: nothing panics, facts stay within their bounds, and can be read back.
#[test]
fn any_bytes_in_any_file_are_judged() {
    let node = Node::hardened();
    let mut runner = TestRunner::new(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() });
    let cases = (0..node::FILES.len(), proptest::collection::vec(any::<u8>(), 0..200), any::<bool>());
    let holds = runner.run(&cases, |(at, bytes, is_added)| {
        let path = node::FILES[at];
        let usual = node.bytes_of(path);
        // Alone, or behind what is there, so that it is looked at further in.
        node.bytes(path, &if is_added { [usual.clone(), bytes].concat() } else { bytes });
        let facts = node.facts();
        node.bytes(path, &usual);
        let text = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<HostFacts>(&text).unwrap(), facts);
        assert!(judge("x", &facts).findings.len() >= checks().count());
        Ok(())
    });
    holds.unwrap();
}
