//! Several real servers of Redis: a primary and its replica with Sentinels, and a Cluster.

use std::process::Command;

use super::redis::{Redis, own};
use super::{SOON, wait_until};

/// A primary and a replica, watched by Sentinels that replace the primary half a second after it
/// was last heard of.
pub struct Watched {
    pub servers: [Redis; 2],
    pub sentinels: Vec<Redis>,
    /// What Sentinels write as long as they run.
    _files: tempfile::TempDir,
}

impl Watched {
    /// The primary's name is `tide`; all servers ask for this password, the Sentinels for none.
    pub fn start(password: &str, sentinels: usize) -> Self {
        let login = own(&["-a", password, "--no-auth-warning"]);
        let server = |more: &[String]| {
            let options = |port: String| {
                let own_words =
                    ["--port", &port, "--requirepass", password, "--masterauth", password];
                [own(&own_words), own(&["--repl-diskless-sync-delay", "0"]), more.to_vec()].concat()
            };
            Redis::with(options, login.clone())
        };
        let first = server(&[]);
        let primary = first.address.port().to_string();
        let second = server(&own(&["--replicaof", "127.0.0.1", &primary]));
        wait_until(2 * SOON, "the replica follows", || {
            second.command(&["INFO", "replication"]).contains("master_link_status:up")
        });
        let quorum = sentinels.div_ceil(2).to_string();
        let files = tempfile::tempdir().unwrap();
        let sentinels = (0..sentinels).map(|_| {
            let options = |port: String| {
                let file = files.path().join(&port);
                std::fs::write(&file, "").unwrap();
                own(&[file.to_str().unwrap(), "--sentinel", "--port", &port])
            };
            let sentinel = Redis::with(options, Vec::new());
            for words in [
                &["SENTINEL", "MONITOR", "tide", "127.0.0.1", &primary, &quorum][..],
                &["SENTINEL", "SET", "tide", "auth-pass", password],
                &["SENTINEL", "SET", "tide", "down-after-milliseconds", "500"],
                &["SENTINEL", "SET", "tide", "failover-timeout", "3000"],
            ] {
                assert_eq!(sentinel.command(words), "OK", "{words:?}");
            }
            sentinel
        });
        let sentinels = sentinels.collect();
        let watched = Self { servers: [first, second], sentinels, _files: files };
        wait_until(3 * SOON, "the Sentinels know the replica and each other", || {
            let others = watched.sentinels.len() - 1;
            watched.sentinels.iter().all(|sentinel| {
                let known = sentinel.command(&["INFO", "sentinel"]);
                known.contains(&format!(
                    "status=ok,address=127.0.0.1:{primary},slaves=1,sentinels={}",
                    others + 1
                ))
            })
        });
        watched
    }

    /// What `sentinel.nodes` says.
    pub fn nodes(&self) -> String {
        let nodes: Vec<_> =
            self.sentinels.iter().map(|node| format!("\"{}\"", node.address)).collect();
        format!("[{}]", nodes.join(", "))
    }

    /// Whether a Sentinel says that this one is the primary, and it says so itself.
    pub fn is_primary(&self, at: usize) -> bool {
        let server = &self.servers[at];
        let told = self.sentinels[0].command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "tide"]);
        told.ends_with(&server.address.port().to_string())
            && server.command(&["ROLE"]).starts_with("master")
    }
}

/// A Cluster of three primaries.
pub struct Clustered(pub Vec<Redis>);

impl Clustered {
    pub fn start(password: &str) -> Self {
        let login = own(&["-a", password, "--no-auth-warning"]);
        let options = |port: String| {
            // The ports of the Cluster's own talk are 10 000 beyond, unless one is named.
            let bus = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let bus = bus.port().to_string();
            let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            let more = ["--cluster-node-timeout", "1000", "--port", &port];
            let words = ["--requirepass", password, "--masterauth", password];
            own(&[&cluster[..], &more[..], &words[..]].concat())
        };
        let servers: Vec<_> = (0..3).map(|_| Redis::with(options, login.clone())).collect();
        let places = servers.iter().map(|server| server.address.to_string());
        let mut create = Command::new("redis-cli");
        create.args(&login).args(["--cluster", "create"]).args(places).arg("--cluster-yes");
        let created = create.output().expect("redis-cli, of the Debian package redis-tools");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        wait_until(3 * SOON, "all know that all slots are served", || {
            servers.iter().all(|server| {
                let info = server.command(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            })
        });
        Self(servers)
    }

    /// What `url` says: the first server alone, from which the others are known.
    pub fn url(&self, password: &str) -> String {
        format!("redis://:{password}@{}", self.0[0].address)
    }

    /// The names that match, wherever they are.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let of = |server: &Redis| server.command(&["--raw", "KEYS", pattern]);
        self.0
            .iter()
            .map(of)
            .flat_map(|keys| keys.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    /// The server that has a key, and the key's slot.
    pub fn home(&self, key: &str) -> (usize, String) {
        let has = |server: &Redis| server.command(&["EXISTS", key]) == "1";
        let at = self.0.iter().position(has).expect("a server that has it");
        (at, self.0[at].command(&["CLUSTER", "KEYSLOT", key]))
    }

    /// The name of a server among its like.
    pub fn id(&self, at: usize) -> String {
        self.0[at].command(&["CLUSTER", "MYID"])
    }
}
