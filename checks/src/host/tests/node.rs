//! A recorded node: a folder with the files of one.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::{
    Report,
    host::{HostFacts, Root, judge},
};

/// A key that must be in no fact.
pub(super) const KEY: &str = "c2VjcmV0IGlzIHNlY3VyZS4uLi4uLi4u";
/// A password's hash that must be in none.
pub(super) const HASH: &str = "$6$salt$hash-of-a-password";
/// Files that have a form of their own.
pub(super) const FILES: [&str; 24] = [
    "/proc/swaps",
    "/proc/1/mountinfo",
    "/proc/50/mountinfo",
    "/proc/1/net/tcp",
    "/proc/2/stat",
    "/proc/10/comm",
    "/proc/10/cmdline",
    "/proc/11/cmdline",
    "/proc/12/cmdline",
    "/proc/12/limits",
    "/proc/30/cmdline",
    "/proc/31/cmdline",
    "/proc/sys/kernel/tainted",
    "/sys/kernel/security/lsm",
    "/sys/devices/dm-0/uevent",
    "/var/lib/kubelet/config.yaml",
    "/etc/docker/daemon.json",
    "/etc/containerd/config.toml",
    "/etc/containerd/certs.d/a.example/hosts.toml",
    "/etc/containers/registries.conf",
    "/etc/kubernetes/encryption.yaml",
    "/etc/kubernetes/audit.yaml",
    "/etc/shadow",
    "/etc/group",
];

const KUBELET: &str = "\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}}
authorization: {mode: Webhook}
readOnlyPort: 0
failSwapOn: true
seccompDefault: true
podPidsLimit: 4096
";
const MOUNTS: &str = "\
21 1 8:1 / / ro,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:20 / /run rw,nosuid shared:2 - tmpfs tmpfs rw,mode=755
23 21 253:0 / /var/lib/containerd rw,relatime - ext4 /dev/mapper/swap rw
";
const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const AUDIT: &str = "rules:\n- {level: Metadata}\n";

/// The volume of a pod's secrets.
pub(super) fn secrets(pod: &str) -> String {
    format!("/var/lib/kubelet/pods/{pod}/volumes/kubernetes.io~empty-dir/coffer-secrets")
}

/// A folder with the files of a node.
pub(super) struct Node(tempfile::TempDir);

impl Node {
    /// One without any file.
    pub(super) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A machine without Kubernetes and without containers, on which all is as it should be.
    pub(super) fn plain() -> Self {
        let node = Self::empty();
        for (path, value) in [
            ("/proc/sys/fs/suid_dumpable", "0"),
            ("/proc/sys/fs/protected_symlinks", "1"),
            ("/proc/sys/fs/protected_hardlinks", "1"),
            ("/proc/sys/kernel/yama/ptrace_scope", "1"),
            ("/proc/sys/kernel/kexec_load_disabled", "1"),
            ("/proc/sys/kernel/kptr_restrict", "2"),
            ("/proc/sys/kernel/dmesg_restrict", "1"),
            ("/proc/sys/kernel/perf_event_paranoid", "3"),
            ("/proc/sys/kernel/unprivileged_bpf_disabled", "2"),
            ("/proc/sys/net/core/bpf_jit_harden", "2"),
            ("/proc/sys/kernel/randomize_va_space", "2"),
            ("/proc/sys/vm/mmap_min_addr", "65536"),
            ("/proc/sys/kernel/io_uring_disabled", "2"),
            ("/proc/sys/vm/unprivileged_userfaultfd", "0"),
            ("/proc/sys/kernel/sysrq", "0"),
            ("/proc/sys/dev/tty/ldisc_autoload", "0"),
            ("/proc/sys/kernel/tainted", "0"),
            ("/proc/sys/kernel/seccomp/actions_avail", "kill_process kill_thread trap errno user_notif trace log allow"),
            ("/proc/sys/kernel/core_pattern", "core"),
            ("/proc/sys/kernel/hostname", "node-a"),
            ("/sys/kernel/mm/ksm/run", "0"),
            ("/sys/kernel/security/lsm", "lockdown,capability,yama,selinux"),
            ("/sys/fs/selinux/enforce", "1"),
            ("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids"),
            ("/sys/power/state", "freeze mem disk"),
            ("/sys/power/resume", "0:0"),
        ] {
            node.file(path, &format!("{value}\n"));
        }
        node.file("/proc/2/stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0").link("/proc/2/ns/pid", "pid:[1]");
        node.file("/proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
        node.process(1, "systemd", &["/sbin/init"]).mounts(&[]).file("/proc/1/net/tcp", TCP);
        node.file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n");
        node.file("/etc/shadow", &format!("root:{HASH}:1:0:::::\napp:!:1:0:::::\n"));
        node.file("/etc/group", "root:x:0:\nwheel:x:10:app\n");
        node.folder("/run").link("/var/run", "/run");
        node.block("sda1", "8:1", None, &[]).block("dm-0", "253:0", Some(("swap", "CRYPT-LUKS2-1")), &[]);
        node.block("dm-1", "253:1", Some(("a", "LVM-1")), &["dm-0"]).block(
            "dm-2",
            "253:2",
            Some(("b", "LVM-2")),
            &["dm-0", "sda1"],
        );
        node.block("zram0", "252:0", None, &[]).file("/sys/devices/zram0/backing_dev", "none\n");
        node
    }

    /// A node on which everything runs, as it should.
    pub(super) fn hardened() -> Self {
        let node = Self::plain();
        node.file("/proc/sys/kernel/core_pattern", "|/bin/false\n");
        node.mounts(&[(&secrets("pod-a"), "0:50", "tmpfs", "tmpfs", "rw,noswap")]);
        node.file("/etc/group", "root:x:0:\ndocker:x:998:\n");
        let kubelet = [
            "/usr/bin/kubelet",
            "--config=/var/lib/kubelet/config.yaml",
            "--config-dir",
            "/var/lib/kubelet/config.d",
            "--kubeconfig=/etc/kubernetes/kubelet.conf",
        ];
        node.process(10, "kubelet", &kubelet).file("/var/lib/kubelet/config.yaml", KUBELET).folder("/var/lib/kubelet/config.d");
        node.file("/etc/kubernetes/kubelet.conf", "").folder("/var/lib/kubelet/pods").mode("/var/lib/kubelet/pods", 0o750);
        node.process(11, "dockerd", &["/usr/bin/dockerd", "-H", "fd://"]).file(
            "/etc/docker/daemon.json",
            r#"{"tlsverify": true, "tlscacert": "/etc/docker/ca.pem", "tlscert": "/etc/docker/cert.pem", "tlskey": "/etc/docker/key.pem",
                "icc": false, "userns-remap": "default", "no-new-privileges": true}"#,
        );
        for file in ["ca", "cert", "key"] {
            node.file(&format!("/etc/docker/{file}.pem"), "");
        }
        node.process(12, "containerd", &["/usr/bin/containerd", "--config", "/etc/containerd/config.toml"]).file(
            "/etc/containerd/config.toml",
            "version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d'\n",
        );
        node.file("/etc/containers/registries.conf", "[[registry]]\nlocation = 'a.example'\n");
        node.file("/etc/containerd/certs.d/a.example/hosts.toml", "server = 'https://a.example'").folder("/var/lib/containerd");
        for socket in ["/run/docker.sock", "/run/containerd/containerd.sock"] {
            node.socket(socket).mode(socket, 0o660);
        }
        node.container(
            50,
            "app",
            &["1 0 0:70 / / rw - overlay overlay rw", "2 1 0:50 / /coffer/secrets ro - tmpfs tmpfs rw,noswap"],
        );
        node.process(
            30,
            "kube-apiserver",
            &[
                "kube-apiserver",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction,PodSecurity",
                "--anonymous-auth=false",
                "--profiling=false",
                "--encryption-provider-config=/etc/kubernetes/encryption.yaml",
                "--audit-policy-file=/etc/kubernetes/audit.yaml",
            ],
        );
        node.file("/etc/kubernetes/audit.yaml", AUDIT).file("/etc/kubernetes/encryption.yaml", &format!(
            "resources:\n- resources: [secrets]\n  providers:\n  - secretbox: {{keys: [{{name: a, secret: {KEY}}}]}}\n  - identity: {{}}\n"
        ));
        node.file("/etc/kubernetes/manifests/kube-apiserver.yaml", "").file("/etc/kubernetes/manifests/etcd.yaml", "");
        node.process(
            31,
            "etcd",
            &[
                "etcd",
                "--data-dir=/var/lib/etcd",
                "--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379",
                "--cert-file=/c",
                "--key-file=/k",
                "--trusted-ca-file=/ca",
                "--client-cert-auth=true",
                "--listen-peer-urls=https://10.0.0.1:2380",
                "--peer-client-cert-auth",
                "--peer-trusted-ca-file=/ca",
            ],
        );
        node.folder("/var/lib/etcd/member").mode("/var/lib/etcd", 0o700);
        node
    }

    /// A node on which everything is open.
    pub(super) fn lax() -> Self {
        let node = Self::hardened();
        for entry in super::super::table() {
            if let super::super::Judge::Value(path, _) = entry.judge {
                let open = if path.ends_with("userfaultfd")
                    || path.ends_with("sysrq")
                    || path.ends_with("autoload")
                    || path.ends_with("ksm/run")
                {
                    "1"
                } else {
                    "0"
                };
                node.file(path, if path.ends_with("suid_dumpable") { "2" } else { open });
            }
        }
        node.file("/proc/sys/fs/protected_symlinks", "0").file("/proc/sys/kernel/tainted", "4096");
        node.file("/proc/sys/kernel/seccomp/actions_avail", "trap").file("/proc/sys/kernel/core_pattern", "/var/crash/core.%p");
        node.file("/proc/12/limits", "Max core file size        0                    unlimited            bytes\n");
        node.file("/sys/kernel/security/lsm", "capability,yama")
            .file("/sys/fs/selinux/enforce", "0")
            .file("/sys/power/resume", "8:1");
        node.file("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sda1 partition 1 0 -2\n");
        node.file("/proc/1/mountinfo", &format!(
            "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 0:20 / /run rw - tmpfs tmpfs rw\n23 21 0:50 / {} rw - tmpfs tmpfs rw\n", secrets("pod-a")
        ));
        node.file("/etc/passwd", "root:x:0:0::/:/bin/sh\ntoor:x:00:0::/:/bin/sh\n").file("/etc/group", "docker:x:998:app\n");
        node.file(
            "/var/lib/kubelet/config.yaml",
            "\
authentication: {anonymous: {enabled: true}}
authorization: {mode: AlwaysAllow}
readOnlyPort: 10255
failSwapOn: false
memorySwap: {swapBehavior: LimitedSwap}
makeIPTablesUtilChains: false
streamingConnectionIdleTimeout: 0s
",
        )
        .mode("/var/lib/kubelet/config.yaml", 0o644)
        .mode("/var/lib/kubelet/pods", 0o755);
        node.file(
            "/etc/docker/daemon.json",
            r#"{"hosts": ["tcp://0.0.0.0:2375", "unix:///var/run/docker.sock"], "insecure-registries": ["registry.example"],
            "tlskey": "/etc/docker/key.pem", "seccomp-profile": "unconfined"}"#,
        )
        .mode("/etc/docker/daemon.json", 0o666)
        .mode("/etc/docker/key.pem", 0o644);
        node.mode("/run/docker.sock", 0o666).mode("/run/containerd/containerd.sock", 0o666);
        node.container(50, "app", &["1 0 0:70 / / rw - overlay overlay rw", "2 1 0:20 / /host/run rw - tmpfs tmpfs rw"]);
        node.process(
            30,
            "kube-apiserver",
            &["kube-apiserver", "--authorization-mode=AlwaysAllow", "--enable-admission-plugins=PodSecurity"],
        );
        node.mode("/etc/kubernetes/manifests/etcd.yaml", 0o644);
        node.process(31, "etcd", &["etcd", "--data-dir=/var/lib/etcd", "--listen-client-urls=http://0.0.0.0:2379"]);
        node
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(super) fn bytes(&self, path: &str, bytes: &[u8]) {
        fs::write(self.path(path), bytes).unwrap();
        self.mode(path, 0o600);
    }

    pub(super) fn bytes_of(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap()
    }

    pub(super) fn file(&self, path: &str, text: &str) -> &Self {
        self.bytes(path, text.as_bytes());
        self
    }

    pub(super) fn folder(&self, path: &str) -> &Self {
        fs::create_dir_all(self.path(path)).unwrap();
        self
    }

    fn socket(&self, path: &str) -> &Self {
        mknodat(CWD, self.path(path), FileType::Socket, Mode::RUSR, 0).unwrap();
        self
    }

    pub(super) fn mode(&self, path: &str, mode: u32) -> &Self {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub(super) fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.path(path);
        if fs::symlink_metadata(&path).is_ok() {
            fs::remove_file(&path).unwrap();
        }
        symlink(target, path).unwrap();
        self
    }

    pub(super) fn remove(&self, path: &str) -> &Self {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        self
    }

    /// A process of the host; one that is there already is another program from now on.
    pub(super) fn process(&self, id: u32, name: &str, arguments: &[&str]) -> &Self {
        self.file(&format!("/proc/{id}/comm"), &format!("{name}\n"));
        self.file(&format!("/proc/{id}/cmdline"), &format!("{}\0", arguments.join("\0")));
        self.file(&format!("/proc/{id}/limits"), "Max core file size        0                    0                    bytes\n");
        self.link(&format!("/proc/{id}/ns/pid"), "pid:[1]").link(&format!("/proc/{id}/ns/mnt"), "mnt:[1]")
    }

    /// A process with namespaces of its own, and what is mounted there.
    pub(super) fn container(&self, id: u32, name: &str, mounts: &[&str]) -> &Self {
        self.process(id, name, &[name]).file(&format!("/proc/{id}/mountinfo"), &format!("{}\n", mounts.join("\n")));
        self.link(&format!("/proc/{id}/ns/pid"), &format!("pid:[{id}]"))
            .link(&format!("/proc/{id}/ns/mnt"), &format!("mnt:[{id}]"))
    }

    pub(super) fn ends(&self, id: u32) -> &Self {
        self.remove(&format!("/proc/{id}"))
    }

    /// The host's mounts, and these: where, device, kind, source, options.
    pub(super) fn mounts(&self, more: &[(&str, &str, &str, &str, &str)]) -> &Self {
        let more = more
            .iter()
            .map(|(point, device, kind, source, options)| format!("30 21 {device} / {point} rw - {kind} {source} {options}\n"));
        self.file("/proc/1/mountinfo", &format!("{MOUNTS}{}", more.collect::<String>()))
    }

    pub(super) fn listens(&self, port: u16) -> &Self {
        self.file(
            "/proc/1/net/tcp",
            &format!("{TCP}   0: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1\n"),
        )
    }

    pub(super) fn block(&self, name: &str, number: &str, mapped: Option<(&str, &str)>, below: &[&str]) -> &Self {
        let folder = format!("/sys/devices/{name}");
        self.file(&format!("{folder}/uevent"), &format!("MAJOR=1\nDEVNAME={name}\n"))
            .file(&format!("{folder}/dev"), &format!("{number}\n"));
        if let Some((name, id)) = mapped {
            self.file(&format!("{folder}/dm/name"), &format!("{name}\n")).file(&format!("{folder}/dm/uuid"), &format!("{id}\n"));
        }
        for name in below {
            self.link(&format!("{folder}/slaves/{name}"), &format!("/sys/devices/{name}"));
        }
        self.link(&format!("/sys/dev/block/{number}"), &folder).link(&format!("/sys/class/block/{name}"), &folder)
    }

    /// What is known of it. What belongs to whoever runs the test is taken for root's.
    pub(super) fn facts(&self) -> HostFacts {
        let facts = HostFacts::gather(&Root::open(self.0.path()).unwrap());
        let mut facts = serde_json::to_value(facts).unwrap();
        for file in facts["files"].as_object_mut().unwrap().values_mut().filter_map(|fact| fact.get_mut("known")) {
            file["uid"] = 0.into();
            file["gid"] = 0.into();
        }
        serde_json::from_value(facts).unwrap()
    }

    pub(super) fn judged(&self) -> Report {
        judge("node", &self.facts())
    }
}
