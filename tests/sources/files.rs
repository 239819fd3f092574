//! `servers = { file = "…" }`: a watched file is the list, and nothing but a good list changes it.

use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use crate::load::{Kind, Load, duplicates};
use crate::names::SOON;
use crate::server::Server;
use crate::{MS, fault, metric, names, proxy, text, upstream};
use support::{Origin, RawClient, Response, Tidegate, assert_problem, wait_until};

/// A file with servers, in a directory of its own.
struct ListFile {
    directory: TempDir,
    path: PathBuf,
}

impl ListFile {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.list");
        std::fs::write(&path, text).unwrap();
        Self { directory, path }
    }

    /// Puts another file in its place, as whoever writes such files should.
    fn replace(&self, text: &str) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.path).unwrap();
    }

    fn source(&self) -> String {
        source(&self.path)
    }
}

fn source(path: &Path) -> String {
    format!("{{ file = '{}' }}", path.display())
}

fn toml(addresses: &[String]) -> String {
    format!("servers = {addresses:?}\n")
}

fn file_sd(addresses: &[String]) -> String {
    json!([{ "targets": addresses, "labels": { "zone": "a" } }]).to_string()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

const FAULT: &str = "tidegate_upstream_source_fault{upstream=\"app\",source=\"file\"}";

#[test]
fn a_list_that_grows_and_shrinks_under_load_loses_no_request() {
    let servers: Vec<Server> = (0..10).map(|_| Server::start()).collect();
    let all: Vec<String> = servers.iter().map(|server| server.address.to_string()).collect();
    let file = ListFile::new(&toml(&all[..3]));
    let proxy = proxy(&file.source(), ("", ""));
    assert_eq!(names(&proxy), sorted(all[..3].to_vec()));
    let load = Load::start(&proxy, Kind::Post, 2 * MS);
    file.replace(&file_sd(&all));
    wait_until(SOON, "ten servers", || names(&proxy).len() == 10);
    wait_until(SOON, "all of them work", || servers.iter().all(|server| server.requests() > 0));
    // More than half goes: those that answer are held for two seconds.
    file.replace(&json!({ "servers": all[..2] }).to_string());
    wait_until(SOON, "they are held", || upstream(&proxy)["servers_held"] == 8);
    assert_eq!(names(&proxy).len(), 10);
    wait_until(SOON, "two servers", || names(&proxy) == sorted(all[..2].to_vec()));
    // What runs on them may end; then nothing comes any more.
    let before: Vec<usize> = servers.iter().map(Server::requests).collect();
    wait_until(SOON, "the others work", || servers[0].requests() > before[0] + 100);
    let outcome = load.end();
    assert!(outcome.sent > 400, "{}", outcome.sent);
    assert_eq!(outcome.lost, []);
    assert_eq!(duplicates(&servers, "/post"), Vec::<String>::new());
    assert_eq!(servers.iter().map(Server::crossed).sum::<usize>(), 0);
}

#[test]
fn a_broken_file_keeps_the_last_good_list_and_says_where_it_is_broken() {
    let origin = Origin::ok("fine");
    let good = toml(&[origin.server()]);
    let file = ListFile::new(&good);
    let proxy = proxy(&file.source(), ("", ""));
    assert_eq!((fault(&proxy), metric(&proxy, FAULT)), (None, Some(0.0)));
    let name = file.path.display().to_string();
    for (broken, why) in [
        (
            "servers = [\n  '10.0.0.1:80',\n  '10.0.0.2',\n]",
            ":3:3: error[bad_value]: \"10.0.0.2\" is not a server address",
        ),
        ("servers = [\n  '10.0.0.1:80'", ":2:16: error[syntax]: unclosed array, expected `]`"),
        ("[{\"targets\": [\"10.0.0.1:80\"]},]", ":1:31: error[syntax]: expected value"),
        ("", ":1:1: error[missing_key]: `servers` is missing"),
    ] {
        std::fs::write(&file.path, broken).unwrap();
        let why = format!("{name}{why}");
        wait_until(SOON, &why, || fault(&proxy).as_ref() == Some(&why));
        // The file, the line and the column; the log escapes quotes.
        let place = why.split(']').next().unwrap();
        wait_until(SOON, "a line in the log", || {
            let log = proxy.log();
            let mut warnings = log.lines().filter(|line| line.contains("WARN"));
            warnings.any(|line| line.contains(place) && line.contains("upstream.servers"))
        });
        assert_eq!(metric(&proxy, FAULT), Some(1.0));
        assert_eq!(names(&proxy), [origin.server()]);
        assert_eq!(proxy.client().get("/").text(), "fine");
    }
    std::fs::remove_file(&file.path).unwrap();
    let gone = format!("{name}: there is no such file");
    wait_until(SOON, "it is gone", || fault(&proxy).as_ref() == Some(&gone));
    assert_eq!(proxy.client().get("/").text(), "fine");
    file.replace(&good);
    wait_until(SOON, "it is well", || fault(&proxy).is_none());
    assert_eq!(metric(&proxy, FAULT), Some(0.0));
    assert!(proxy.log().contains("the source of servers is well again"));
}

#[test]
fn weights_labels_zones_and_priorities_change_without_closing_a_connection() {
    let origins: Vec<Origin> = ["a", "b", "c"].map(Origin::ok).into();
    let at = |n: usize| origins[n].server();
    let file = ListFile::new(&format!(
        "servers = [{{ address = '{}', name = 'a', weight = 3 }}, {{ address = '{}', name = 'b' }},\n\
         {{ address = '{}', name = 'c', priority = 1, zone = 'z', labels = {{ tier = 'gold' }} }}]",
        at(0),
        at(1),
        at(2)
    ));
    let gold = "[[route]]\npath = '/gold'\nupstream = 'app'\nsubset = { tier = 'gold' }\n";
    let more = format!("balance = 'round_robin'\n{gold}");
    // Each worker has connections of its own.
    let text = text(&file.source(), ("", &more)).replace("workers = 2", "workers = 1");
    let proxy = Tidegate::start(&text);
    let mut client = proxy.client();
    let mut count = |word: &str| (0..40).filter(|_| client.get("/").text() == word).count();
    assert_eq!((count("a"), count("b"), count("c")), (30, 10, 0));
    assert_eq!(proxy.client().get("/gold").text(), "c");
    let server = |n: usize| upstream(&proxy)["servers"][n].clone();
    assert_eq!((&server(0)["weight"], &server(0)["source"]), (&json!(3), &json!("file")));
    let since = server(0)["joined"].as_u64().unwrap();
    assert!(since > 1_700_000_000);
    let accepts = || origins.iter().map(Origin::accepts).collect::<Vec<_>>();
    let before = accepts();
    file.replace(&format!(
        "servers = [{{ address = '{}', name = 'a', zone = 'y' }}, {{ address = '{}', name = 'b', labels = {{ tier = 'gold' }} }},\n\
         {{ address = '{}', name = 'c', priority = 1 }}]",
        at(0),
        at(1),
        at(2)
    ));
    wait_until(SOON, "another weight", || server(0)["weight"] == 1);
    assert_eq!((count("a"), count("b"), count("c")), (20, 20, 0));
    assert_eq!(proxy.client().get("/gold").text(), "b");
    assert_eq!(accepts(), before, "every connection is used on");
    assert_eq!(server(0)["joined"], since);
    assert_eq!(server(0)["requests"].as_u64().unwrap(), 90 + 60, "the same server as before");
}

#[test]
fn a_file_that_is_not_there_yet_is_no_reason_not_to_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("later.json");
    let origin = Origin::ok("fine");
    let proxy = proxy(&source(&path), ("", ""));
    assert_problem(&proxy.client().get("/"), 503, "no_server");
    let gone = format!("{}: there is no such file", path.display());
    assert_eq!(fault(&proxy), Some(gone));
    assert_eq!(metric(&proxy, FAULT), Some(1.0));
    std::fs::write(&path, file_sd(&[origin.server()])).unwrap();
    wait_until(SOON, "it is there", || names(&proxy) == [origin.server()]);
    assert_eq!(proxy.client().get("/").text(), "fine");
    assert_eq!(upstream(&proxy)["supply"]["fault"], json!(null));
    assert!(upstream(&proxy)["supply"]["since"].as_u64().unwrap() > 1_700_000_000);
}

#[test]
fn an_empty_list_is_believed_after_a_while_and_at_once_by_order() {
    let origins: Vec<Origin> = ["a", "b"].map(Origin::ok).into();
    let all: Vec<String> = origins.iter().map(Origin::server).collect();
    let file = ListFile::new(&toml(&all));
    let proxy = proxy(&file.source(), ("", ""));
    file.replace("servers = []");
    wait_until(SOON, "they are held", || upstream(&proxy)["servers_held"] == 2);
    assert_eq!(proxy.client().get("/").status, 200);
    wait_until(SOON, "they go", || names(&proxy).is_empty());
    assert_problem(&proxy.client().get("/"), 503, "no_server");
    file.replace(&toml(&all));
    wait_until(SOON, "they are back", || names(&proxy).len() == 2);
    file.replace("[]");
    wait_until(SOON, "they are held", || upstream(&proxy)["servers_held"] == 2);
    let forced = force(&proxy);
    assert_eq!(forced.status, 200, "{}", forced.text());
    assert_eq!(names(&proxy), Vec::<String>::new());
}

#[test]
fn more_than_a_thousand_new_servers_wait_behind_the_growth_guard() {
    let origin = Origin::ok("fine");
    let file = ListFile::new(&toml(&[origin.server()]));
    let toml_text = text(&file.source(), ("", "")).replace("\"2s\"", "\"1h\"");
    let proxy = Tidegate::start(&toml_text);
    let mut many = vec![origin.server()];
    many.extend((0..1_200).map(|n| format!("127.1.{}.{}:9", n / 200, n % 200 + 1)));
    file.replace(&toml(&many));
    wait_until(SOON, "some wait", || upstream(&proxy)["servers_waiting"] == 201);
    wait_until(SOON, "the others are used", || names(&proxy).len() == 1_000);
    assert_eq!(metric(&proxy, "tidegate_upstream_members_waiting{upstream=\"app\"}"), Some(201.0));
    assert!(proxy.log().contains("runtime.growth_guard"));
    assert_eq!(force(&proxy).status, 200);
    assert_eq!(names(&proxy).len(), 1_201);
    assert_eq!(upstream(&proxy)["servers_waiting"], 0);
}

/// Says that all sources are to be believed.
fn force(proxy: &Tidegate) -> Response {
    RawClient::connect(proxy.admin())
        .exchange("POST /reload?force=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
}

fn write_config(proxy: &Tidegate, text: &str) {
    let path = proxy.path("tidegate.toml");
    let new = proxy.path("new.toml");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, &path).unwrap();
}

#[test]
fn another_file_is_another_source_and_a_refused_reload_keeps_the_one_before() {
    let origins: Vec<Origin> = ["a", "b", "c", "d"].map(Origin::ok).into();
    let all: Vec<String> = origins.iter().map(Origin::server).collect();
    let (first, second) = (ListFile::new(&toml(&all[..3])), ListFile::new(&toml(&all[3..])));
    let proxy = proxy(&first.source(), ("", ""));
    assert_eq!(names(&proxy), sorted(all[..3].to_vec()));
    // A listener at an address of nobody's: the reload is refused when all else is prepared.
    let refused = text(&second.source(), ("", "")).replace(
        "[[listen]]",
        "[[listen]]\naddress = '192.0.2.1:80'\nname = 'nowhere'\n[[listen]]",
    );
    write_config(&proxy, &refused);
    wait_until(SOON, "it is refused", || proxy.log().contains("reload refused"));
    first.replace(&toml(&all[..2]));
    wait_until(SOON, "the first file counts", || names(&proxy) == sorted(all[..2].to_vec()));
    // No guard keeps what another source has told.
    write_config(&proxy, &text(&second.source(), ("", "")));
    wait_until(SOON, "the second file counts", || names(&proxy) == all[3..]);
    assert_eq!(proxy.client().get("/").text(), "d");
    second.replace(&toml(&all[2..]));
    wait_until(SOON, "it is watched", || names(&proxy).len() == 2);
    // And back to a list in the configuration.
    write_config(&proxy, &text(&format!("['{}']", all[0]), ("", "")));
    wait_until(SOON, "the list counts", || names(&proxy) == all[..1]);
    assert_eq!(upstream(&proxy)["source"], "config");
    wait_until(SOON, "no file is read any more", || upstream(&proxy)["supply"].is_null());
}

#[test]
fn names_in_a_file_are_looked_up_and_the_proxy_itself_is_not_used() {
    let origin = Origin::ok("fine");
    let port = origin.server().split(':').next_back().unwrap().to_owned();
    let file = ListFile::new(&toml(&[format!("app.test:{port}")]));
    let toml_text = text(&file.source(), ("", ""));
    let proxy = Tidegate::with_hosts("127.0.0.1 app.test later.test\n", &toml_text, &[]);
    assert_eq!(proxy.client().get("/").text(), "fine");
    file.replace(&toml(&[format!("later.test:{port}")]));
    wait_until(SOON, "the other name", || names(&proxy) == [format!("later.test:{port}")]);
    wait_until(SOON, "it is looked up", || proxy.client().get("/").text() == "fine");
    let own = proxy.address();
    file.replace(&toml(&[format!("later.test:{port}"), own.to_string()]));
    let why = format!("{own} is this proxy itself, and is not used");
    wait_until(SOON, "it is noticed", || fault(&proxy).as_ref() == Some(&why));
    assert_eq!(names(&proxy), [format!("later.test:{port}")]);
}

#[test]
fn status_tells_where_servers_come_from_and_what_is_wrong() {
    let origin = Origin::ok("fine");
    let file = ListFile::new(&toml(&[origin.server()]));
    let proxy = proxy(&file.source(), ("", ""));
    let status = || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["status", "--admin"])
            .arg(format!("http://{}", proxy.admin()))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let first = status();
    assert!(first.contains("upstream app: 0 waiting, servers from file\n"), "{first}");
    let line = first.lines().find(|line| line.contains(&origin.server())).unwrap();
    assert!(line.contains(" up, from file since ") && line.contains(" s: 0 in flight"), "{first}");
    std::fs::remove_file(&file.path).unwrap();
    wait_until(SOON, "it is gone", || fault(&proxy).is_some());
    let second = status();
    let expected =
        format!(", ITS SOURCE HAS A FAULT: {}: there is no such file\n", file.path.display());
    assert!(second.contains(&expected), "{second}");
}
