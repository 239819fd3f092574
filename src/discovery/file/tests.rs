use super::*;

fn sources(path: &Path, more: &str) -> UpstreamSources {
    let text = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\n[upstream.app]\nservers = {{ file = '{}' {more} }}\n\
             [[route]]\nupstream = 'app'\n",
        path.display()
    );
    super::super::source::list_sources(&crate::config::load_str("t.toml", &text).unwrap().config)
}

struct Tried {
    watch: FileWatch,
}

impl Tried {
    fn new(sources: UpstreamSources) -> Self {
        let mut watch = FileWatch { updates: Updates::default(), files: BTreeMap::new() };
        watch.add_sources(sources);
        Self { watch }
    }

    /// The ids that were sent since this was asked last, and what is wrong.
    fn told(&self) -> Option<(Vec<String>, Option<String>)> {
        let update = self.watch.updates.take_all().into_values().next()?;
        let entries = update.entries.iter().flat_map(|entries| entries.iter());
        let ids = entries.map(|entry| entry.id.to_string()).collect();
        Some((ids, update.fault.as_deref().map(str::to_owned)))
    }
}

fn told(ids: &[&str], fault: Option<&str>) -> Option<(Vec<String>, Option<String>)> {
    let ids = ids.iter().map(|text| (*text).to_owned()).collect();
    Some((ids, fault.map(str::to_owned)))
}

#[test]
fn a_file_is_read_again_when_another_takes_its_place_or_it_stands_still() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.toml");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("servers = ['10.0.0.1:1']");
    let mut tried = Tried::new(sources(&path, ""));
    assert_eq!(tried.told(), told(&["10.0.0.1:1"], None));
    tried.watch.look_at_files();
    assert_eq!(tried.told(), None);
    write("servers = ['10.0.0.1:1', '10.0.0.2:2']");
    tried.watch.look_at_files();
    assert_eq!(tried.told(), None, "somebody may still be writing");
    tried.watch.look_at_files();
    assert_eq!(tried.told(), told(&["10.0.0.1:1", "10.0.0.2:2"], None));
    let other = directory.path().join("new");
    std::fs::write(&other, "[{\"targets\": [\"10.0.0.3:3\", \"10.0.0.3:3\"]}]").unwrap();
    std::fs::rename(&other, &path).unwrap();
    tried.watch.look_at_files();
    assert_eq!(tried.told(), told(&["10.0.0.3:3"], None));
    write("servers = ['10.0.0.3:3']");
    tried.watch.look_at_files();
    tried.watch.look_at_files();
    assert_eq!(tried.told(), None, "the same in other words");
}

#[test]
fn a_file_that_is_broken_or_gone_says_so_and_takes_nothing_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.toml");
    let name = path.display().to_string();
    let mut tried = Tried::new(sources(&path, ""));
    assert_eq!(tried.told(), told(&[], Some(&format!("{name}: there is no such file"))));
    let mut say = |text: &str| {
        std::fs::write(&path, text).unwrap();
        tried.watch.look_at_files();
        tried.watch.look_at_files();
        tried.told()
    };
    assert_eq!(say("servers = ['10.0.0.1:1']"), told(&["10.0.0.1:1"], None));
    let fault = format!("{name}:1:12: error[bad_value]: \"10.0.0.1\" is not a server address");
    assert_eq!(say("servers = ['10.0.0.1']"), told(&["10.0.0.1:1"], Some(&fault)));
    // One at which nobody can be is no reason to do without the others.
    assert_eq!(
        say("servers = ['10.0.0.1:1', '224.0.0.1:1']"),
        told(&["10.0.0.1:1", "224.0.0.1:1"], None)
    );
    assert_eq!(say("servers = ['10.0.0.1:1']"), told(&["10.0.0.1:1"], None));
    let fault = format!("{name}:1:12: error[bad_value]: \"10.0.0.1:0\" is not a server address");
    assert_eq!(say("servers = ['10.0.0.1:0']"), told(&["10.0.0.1:1"], Some(&fault)));
    assert_eq!(say("servers = []"), told(&[], None), "a guard looks after that");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    tried.watch.look_at_files();
    tried.watch.look_at_files();
    assert_eq!(tried.told(), told(&[], Some(&format!("{name}: it is a directory"))));
}

#[test]
fn labels_zones_and_networks_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.json");
    let targets = "[{\"targets\": [\"10.0.0.1:1\", \"127.0.0.1:1\", \"app:2\"], \
                       \"labels\": {\"zone\": \"a\", \"tier\": \"x\", \"__meta\": \"y\"}}]";
    std::fs::write(&path, targets).unwrap();
    let tried = Tried::new(sources(&path, ", allow = ['10.0.0.0/8']"));
    let update = tried.watch.updates.take_all().into_values().next().unwrap();
    let fault = format!("{}: 127.0.0.1:1 is outside `allow`", path.display());
    assert_eq!(update.fault.as_deref(), Some(&*fault));
    let all = update.entries.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].zone.as_deref(), Some("a"));
    let labels: Vec<&str> = all[0].labels.keys().map(String::as_str).collect();
    assert_eq!(labels, ["tier", "zone"]);
}
