//! Programs that developers have, against servers that they are meant for: git, npm, skopeo with a
//! registry.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use support::{
    Configuration, Origin, RawClient, Request, SOON, Step, Tidegate, holds_within, ok, wait_until,
};

/// How long a program may take to start.
const START: Duration = Duration::from_secs(20);

/// Bytes that do not get shorter.
fn noise(count: usize) -> Vec<u8> {
    let blocks = (0..count.div_ceil(32)).map(|n| Sha256::digest(n.to_le_bytes()));
    blocks.flatten().take(count).collect()
}

/// Runs a program in a folder that is all it knows of its user, and returns what it printed.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new("timeout")
        .args(["60", program])
        .args(arguments)
        .current_dir(folder)
        .envs([("HOME", folder), ("XDG_RUNTIME_DIR", folder), ("TMPDIR", folder)])
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_TERMINAL_PROMPT", "0"), ("LC_ALL", "C")])
        .envs([("NO_PROXY", "*"), ("no_proxy", "*"), ("CI", "1")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let Output { status, stdout, stderr } = output;
    let (said, wrong) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    // 127: there is no such program.
    assert_ne!(status.code(), Some(127), "{program} is missing (./test --install)");
    assert!(status.success(), "{program} {arguments:?}: {status}\n{said}\n{wrong}");
    said.into_owned()
}

/// The answer of `git http-backend`, which is a CGI program (RFC 3875).
fn git_answer(root: &Path, request: &Request) -> Vec<u8> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let field = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .envs([("GIT_HTTP_EXPORT_ALL", "1"), ("REMOTE_USER", "anna")])
        .envs([("PATH_INFO", path), ("QUERY_STRING", query), ("REQUEST_METHOD", &request.method)])
        .env("CONTENT_TYPE", field("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", field("content-encoding"))
        .env("HTTP_GIT_PROTOCOL", field("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, body) = (child.stdin.take().unwrap(), request.body.clone());
    let writer = std::thread::spawn(move || input.write_all(&body));
    let output = child.wait_with_output().unwrap().stdout;
    // It may have read all that it wanted.
    let _written = writer.join().unwrap();
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let (head, body) = (String::from_utf8_lossy(&output[..end]), &output[end + 4..]);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let others: Vec<&str> = head.lines().filter(|line| !line.starts_with("Status: ")).collect();
    let (others, length) = (others.join("\r\n"), body.len());
    let head = format!("HTTP/1.1 {status}\r\n{others}\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[test]
fn git_clones_and_pushes_large_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let git = |within: &str, arguments: &[&str]| {
        let who = ["-c", "user.name=anna", "-c", "user.email=anna@shop.test", "-c", "gc.auto=0"];
        run(&at(within), "git", &[&who, arguments].concat())
    };
    git("", &["init", "--quiet", "--bare", "--initial-branch=main", "served/app.git"]);
    git("served/app.git", &["config", "http.receivepack", "true"]);
    let root = at("served");
    let origin = Origin::start(move |request| vec![Step::Send(git_answer(&root, request))]);
    let proxy = Configuration::of(&origin).start();
    let url = format!("http://{}/app.git", proxy.address());
    git("", &["clone", "--quiet", &url, "work"]);
    let large = noise(3 << 20);
    fs::write(at("work/large.bin"), &large).unwrap();
    git("work", &["add", "."]);
    git("work", &["commit", "--quiet", "--message", "a large file"]);
    git("work", &["push", "--quiet", "origin", "HEAD:main"]);
    git("", &["clone", "--quiet", &url, "again"]);
    assert!(fs::read(at("again/large.bin")).unwrap() == large, "the file came back changed");
    let pushes = origin.requests().into_iter().filter(|r| r.target == "/app.git/git-receive-pack");
    let pushes: Vec<_> = pushes.map(|r| (r.chunked, r.body.len() > 3 << 20)).collect();
    // Whether it may is asked with four bytes.
    assert_eq!(pushes, [(false, false), (true, true)]);
}

/// npm asks for packages of a scope with an encoded slash.
#[test]
fn npm_finds_and_fetches_packages_of_a_scope() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("package");
    fs::create_dir(&package).unwrap();
    fs::write(package.join("package.json"), r#"{"name":"@shop/parts","version":"1.2.3"}"#).unwrap();
    fs::write(package.join("noise"), noise(300_000)).unwrap();
    run(folder.path(), "tar", &["-czf", "served.tgz", "package"]);
    let tarball = fs::read(folder.path().join("served.tgz")).unwrap();
    let sent = tarball.clone();
    let origin = Origin::start(move |request| {
        let host = request.header("host").unwrap();
        let versions = format!(
            r#"{{"name":"@shop/parts","dist-tags":{{"latest":"1.2.3"}},"versions":{{"1.2.3":{{"name":"@shop/parts","version":"1.2.3",
            "dist":{{"tarball":"http://{host}/@shop/parts/-/parts-1.2.3.tgz"}}}}}}}}"#
        );
        vec![Step::Send(match request.target.as_str() {
            "/@shop%2fparts" => ok(versions),
            "/@shop/parts/-/parts-1.2.3.tgz" => ok(&sent),
            _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        })]
    });
    let proxy = Configuration::of(&origin).route("path_encoding = 'raw'").start();
    let registry = format!("--registry=http://{}/", proxy.address());
    let quiet = ["--no-update-notifier", "--loglevel=error", &registry];
    let npm = |arguments: &[&str]| run(folder.path(), "npm", &[arguments, &quiet].concat());
    assert_eq!(npm(&["view", "@shop/parts", "version"]).trim(), "1.2.3");
    npm(&["pack", "@shop/parts"]);
    assert!(fs::read(folder.path().join("shop-parts-1.2.3.tgz")).unwrap() == tarball);
}

/// A registry of images. It ends with its value.
struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    fn start(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp: {{ addr: '127.0.0.1:{port}' }}\n",
            folder.join("images").display()
        );
        fs::write(&file, text).unwrap();
        let log = fs::File::create(folder.join("registry.log")).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|why| panic!("docker-registry is missing ({why}): ./test --install"));
        let registry = Self { child, port };
        let log = || fs::read_to_string(folder.join("registry.log")).unwrap();
        let up = holds_within(START, &mut || TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(up, "{}", log());
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// An image with one layer, as files. Returns the layer's.
fn image(folder: &Path) -> PathBuf {
    let blobs = folder.join("image/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let keep = |bytes: &[u8]| {
        let name: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(blobs.join(&name), bytes).unwrap();
        (name, bytes.len())
    };
    fs::write(folder.join("data"), noise(3 << 20)).unwrap();
    run(folder, "tar", &["-cf", "layer.tar", "data"]);
    let (plain, _) = keep(&fs::read(folder.join("layer.tar")).unwrap());
    run(folder, "gzip", &["-1", "layer.tar"]);
    let (layer, layer_size) = keep(&fs::read(folder.join("layer.tar.gz")).unwrap());
    let oci = "application/vnd.oci.image";
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["sha256:{plain}"]}}}}"#
    );
    let (config, config_size) = keep(config.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{oci}.manifest.v1+json",
        "config":{{"mediaType":"{oci}.config.v1+json","digest":"sha256:{config}","size":{config_size}}},
        "layers":[{{"mediaType":"{oci}.layer.v1.tar+gzip","digest":"sha256:{layer}","size":{layer_size}}}]}}"#
    );
    let (manifest, size) = keep(manifest.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{oci}.manifest.v1+json","digest":"sha256:{manifest}","size":{size}}}]}}"#
    );
    fs::write(folder.join("image/index.json"), index).unwrap();
    fs::write(folder.join("image/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    blobs.join(layer)
}

/// A registry answers uploads with where they go on: a Location of its own making, which has to
/// lead through the proxy.
#[test]
fn skopeo_pushes_an_image_to_a_registry_and_pulls_it() {
    let folder = tempfile::tempdir().unwrap();
    let layer = image(folder.path());
    let registry = Registry::start(folder.path());
    let proxy: Tidegate = Configuration::of(format!("127.0.0.1:{}", registry.port)).start();
    let name = format!("docker://{}/team/app:1", proxy.address());
    let skopeo = |arguments: &[&str]| {
        let tmp = folder.path().to_str().unwrap();
        run(folder.path(), "skopeo", &[&["--insecure-policy", "--tmpdir", tmp], arguments].concat())
    };
    skopeo(&["copy", "--dest-tls-verify=false", "oci:image", &name]);
    let uploaded = || {
        let page = RawClient::connect(proxy.admin()).ask("/metrics").text();
        let lines = page.lines().filter(|line| line.starts_with("tidegate_route_bytes_total{"));
        let sums = lines.filter(|line| line.contains("direction=\"in\""));
        sums.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
    };
    let size = fs::metadata(&layer).unwrap().len();
    wait_until(SOON, "the layer came through the proxy", || uploaded() >= size as f64);
    let tags = skopeo(&["list-tags", "--tls-verify=false", name.trim_end_matches(":1")]);
    assert!(tags.contains("\"1\""), "{tags}");
    skopeo(&["copy", "--src-tls-verify=false", &name, "oci:back"]);
    let back = folder.path().join("back/blobs/sha256").join(layer.file_name().unwrap());
    assert!(fs::read(back).unwrap() == fs::read(&layer).unwrap(), "the layer came back changed");
}
