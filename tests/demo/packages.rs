//! What `dist/build` makes, installed and started: the same program packs itself, so no other build
//! is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::documents::root;

/// Packs this program into a folder, quickly.
fn build(out: &Path) -> String {
    let output = Command::new(root().join("dist/build"))
        .args(["--fast", "--binary", env!("CARGO_BIN_EXE_tidegate"), "--out"])
        .arg(out)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn packed(out: &Path, end: &str) -> PathBuf {
    let mut files = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.to_str().unwrap().ends_with(end)).unwrap_or_else(|| panic!("no {end}"))
}

/// Runs a script as root, in a network and with processes of its own.
pub(super) fn script(folder: &Path, text: &str, arguments: &[&Path]) -> String {
    let plain = Command::new("unshare").args(["--net", "true"]).output();
    let plain = plain.expect("unshare, of the Debian package util-linux").status.success();
    let own: &[&str] = if plain { &["--net"] } else { &["--user", "--map-root-user", "--net"] };
    let output = Command::new("unshare")
        .args(own)
        .args(["--pid", "--fork", "--kill-child", "timeout", "60", "bash", "-euc", text])
        .arg(if plain { "root" } else { "mapped" })
        .args(arguments)
        .current_dir(folder)
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Waits until both of the default file's addresses answer, and says what they do.
const ASK: &str = r#"
ask() {
    for _ in $(seq 400); do curl -sf http://127.0.0.1:9900/ready >/dev/null && break; sleep 0.025; done
    curl -s http://127.0.0.1:8080/
    curl -s http://127.0.0.1:9900/ | grep -o '<title>.*</title>'
}
ip link set lo up
"#;

fn install_and_remove(out: &Path, folder: &Path) {
    let text = format!(
        "{ASK}{}",
        r#"
        mkdir -p root/var/lib/dpkg/info root/var/lib/dpkg/updates; : >root/var/lib/dpkg/status
        dpkg() {
            command dpkg --root="$PWD/root" --force-depends --force-script-chrootless --log=/dev/null "$@" >dpkg.log 2>&1 ||
                { cat dpkg.log; exit 1; }
        }
        dpkg --install "$1"
        find root -path root/var -prune -o -type f -print | sort
        root/usr/bin/tidegate check -c root/etc/tidegate/tidegate.toml | tail -n 1
        root/usr/bin/tidegate run -c root/etc/tidegate/tidegate.toml & ask
        kill %1; wait %1
        echo '# changed by the operator' >>root/etc/tidegate/tidegate.toml
        dpkg --remove tidegate
        find root -path root/var -prune -o -type f -print | sed 's/^/left: /'
        dpkg --purge tidegate
        find root -path root/var -prune -o -type f -print | sed 's/^/purged: /'
        "#
    );
    let said = script(folder, &text, &[&packed(out, ".deb")]);
    for file in [
        "root/etc/tidegate/tidegate.toml",
        "root/usr/bin/tidegate",
        "root/usr/lib/systemd/system/tidegate.service",
        "root/usr/share/bash-completion/completions/tidegate",
        "root/usr/share/doc/tidegate/THIRD-PARTY.txt.gz",
        "root/usr/share/doc/tidegate/copyright",
        "root/usr/share/man/man1/tidegate.1.gz",
    ] {
        assert!(said.lines().any(|line| line == file), "{file}: {said}");
    }
    assert!(said.contains("(1 listener, 0 upstreams, 1 route)"), "{said}");
    assert!(
        said.contains("tidegate is here.") && said.contains("<title>tidegate</title>"),
        "{said}"
    );
    // What an operator wrote stays until it is purged; nothing else does.
    let left: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("left: ")).collect();
    assert_eq!(left, ["root/etc/tidegate/tidegate.toml"]);
    assert!(!said.contains("purged: "), "{said}");
}

fn start_the_image(out: &Path, folder: &Path) {
    let text = format!(
        "{ASK}{}",
        r#"
        mkdir image rootfs; tar -xf "$1" -C image
        layer=$(grep -o '"Layers":\["[^"]*' image/manifest.json | cut -d'"' -f4)
        tar -xzf "image/$layer" -C rootfs
        inside() { if [ "$0" = root ]; then exec chroot --userspec=65532:65532 rootfs "$@"; else exec chroot rootfs "$@"; fi; }
        inside /usr/bin/tidegate run -c /etc/tidegate/tidegate.toml & ask
        (inside /usr/bin/tidegate health -c /etc/tidegate/tidegate.toml)
        kill %1; wait %1
        (inside /usr/bin/tidegate health -c /etc/tidegate/tidegate.toml) || echo "ended"
        "#
    );
    let image = packed(out, "-oci.tar");
    let said = script(folder, &text, &[&image]);
    assert!(
        said.contains("tidegate is here.") && said.contains("<title>tidegate</title>"),
        "{said}"
    );
    assert!(said.contains("healthy\n") && said.trim_end().ends_with("ended"), "{said}");
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(folder.join("image").join(name)).unwrap()).unwrap()
    };
    let index = read("index.json");
    let blob = |digest: &Value| format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
    let manifest = read(&blob(&index["manifests"][0]["digest"]));
    let config = read(&blob(&manifest["config"]["digest"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Healthcheck"]["Test"][2], "health");
    assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/tidegate");
    let size = fs::metadata(&image).unwrap().len();
    assert!(size < 25 << 20, "the image has {size} bytes");
}

#[test]
fn packages_install_start_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let said = build(&one);
    assert!(
        ["program", "archive", "package", "image"].iter().all(|what| said.contains(what)),
        "{said}"
    );
    assert!(said.contains("names are looked up by"), "{said}");
    build(&two);
    let sums = |out: &Path| fs::read_to_string(out.join("SHA256SUMS")).unwrap();
    assert_eq!(sums(&one).lines().count(), 3);
    assert_eq!(sums(&one), sums(&two), "two builds differ");
    let list = Command::new("tar").arg("-tzf").arg(packed(&one, ".tar.gz")).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for file in [
        "/tidegate",
        "/completions/tidegate.bash",
        "/man/tidegate.1",
        "/systemd/tidegate.service",
        "/systemd/tidegate.socket",
        "/licenses/THIRD-PARTY.txt",
        "/LICENSE",
    ] {
        assert!(list.lines().any(|line| line.ends_with(file)), "{file}: {list}");
    }
    let (deb, image) = (folder.path().join("deb"), folder.path().join("oci"));
    fs::create_dir(&deb).unwrap();
    fs::create_dir(&image).unwrap();
    install_and_remove(&one, &deb);
    start_the_image(&one, &image);
}

/// Whatever is linked in is named with its licence.
#[test]
fn every_dependency_has_its_notice() {
    let output = Command::new(root().join("dist/notices")).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    for name in ["tokio 1.", "rustls 0.", "hyper 1.", "clap 4.", "mimalloc 0."] {
        assert!(said.lines().any(|line| line.starts_with(name)), "{name}");
    }
    assert!(said.matches("MIT").count() > 50, "{said}");
}
