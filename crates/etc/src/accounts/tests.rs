use super::*;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

/// A made-up `/etc`.
struct Etc(PathBuf);

impl Etc {
    fn new(label: &str, files: &[(&str, &str)]) -> Self {
        let path =
            std::env::temp_dir().join(format!("pcluster-etc-{label}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let etc = Self(path);
        for (name, text) in files {
            fs::write(etc.0.join(name), text).unwrap();
        }
        etc
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn ana() -> Account {
    Account {
        name: "ana".into(),
        uid: 1000,
        gid: 1000,
        groups: vec![(1000, "ana".into()), (2000, "lab".into())],
        home: "/home/ana".into(),
        shell: "/bin/bash".into(),
    }
}

const DEBIAN: [(&str, &str); 4] = [
    (
        "passwd",
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
    ),
    ("group", "root:x:0:\nnogroup:x:65534:\n"),
    ("shadow", "root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n"),
    ("gshadow", "root:*::\nnogroup:*::\n"),
];

#[test]
fn an_account_is_added_once_and_nobody_can_log_in_with_it() {
    let etc = Etc::new("once", &DEBIAN);
    fs::set_permissions(etc.0.join("shadow"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(add(&etc.0, &ana()).unwrap());
    let added = |name: &str, start: &str| etc.text(name).strip_prefix(start).unwrap().to_owned();
    assert_eq!(added("passwd", DEBIAN[0].1), "ana:x:1000:1000::/home/ana:/bin/bash\n");
    assert_eq!(added("group", DEBIAN[1].1), "ana:x:1000:\nlab:x:2000:ana\n");
    assert_eq!(added("shadow", DEBIAN[2].1), "ana:!:::::::\n");
    assert_eq!(added("gshadow", DEBIAN[3].1), "ana:!::\nlab:!::ana\n");
    assert_eq!(fs::metadata(etc.0.join("shadow")).unwrap().mode() & 0o777, 0o640);
    let before = fs::metadata(etc.0.join("passwd")).unwrap().ino();
    assert!(!add(&etc.0, &ana()).unwrap());
    assert_eq!(fs::metadata(etc.0.join("passwd")).unwrap().ino(), before, "not written again");
    let left: Vec<_> = fs::read_dir(&etc.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "four files and the lock: {left:?}");
}

/// busybox: no shadow file, and no line end at the end.
#[test]
fn an_image_with_root_only_gets_its_user() {
    let etc =
        Etc::new("busybox", &[("passwd", "root:x:0:0:root:/root:/bin/sh"), ("group", "root:x:0:")]);
    add(&etc.0, &ana()).unwrap();
    assert_eq!(
        etc.text("passwd"),
        "root:x:0:0:root:/root:/bin/sh\nana:*:1000:1000::/home/ana:/bin/bash\n"
    );
    assert_eq!(etc.text("group"), "root:x:0:\nana:x:1000:\nlab:x:2000:ana\n");
    assert!(!etc.0.join("shadow").exists());
    let root =
        Account { name: "root".into(), uid: 0, gid: 0, groups: vec![(0, "root".into())], ..ana() };
    assert!(!add(&etc.0, &root).unwrap());
    let bare = Etc::new("bare", &[]);
    add(&bare.0, &ana()).unwrap();
    assert_eq!(bare.text("passwd"), "ana:*:1000:1000::/home/ana:/bin/bash\n");
}

#[test]
fn what_is_there_stays_and_stands_in_the_way_only_of_its_own_name() {
    let passwd = "ana:x:1001:1001::/home/x:/bin/sh\nadmin:x:1000:1000::/home/admin:/bin/sh\n";
    let etc = Etc::new("way", &[("passwd", passwd), ("group", "lab:x:7:\nadmin:x:1000:\n")]);
    let error = add(&etc.0, &ana()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this machine has an account ana with the number 1001; on the head it is 1000"
    );
    assert_eq!(etc.text("passwd"), passwd);
    assert_eq!(etc.text("group"), "lab:x:7:\nadmin:x:1000:\n");
    // The image's own user has the number: ours is found first by it, and both names work.
    let bo = Account {
        name: "bo".into(),
        groups: vec![(1000, "bo".into()), (2000, "lab".into())],
        ..ana()
    };
    assert!(add(&etc.0, &bo).unwrap());
    assert_eq!(
        etc.text("passwd"),
        "ana:x:1001:1001::/home/x:/bin/sh\nbo:*:1000:1000::/home/ana:/bin/bash\n\
         admin:x:1000:1000::/home/admin:/bin/sh\n"
    );
    // Names and numbers of groups that are taken are left alone.
    assert_eq!(etc.text("group"), "lab:x:7:\nadmin:x:1000:\n");
}

#[test]
fn lines_of_directories_stay_behind_and_foreign_bytes_stay_as_they_are() {
    let mut passwd = b"root:x:0:0:r\xf6\xf6t:/root:/bin/sh\n".to_vec();
    passwd.extend_from_slice(b"+::::::\n");
    let files = Files { passwd: Some(passwd), ..Files::default() };
    let after = with_account(files, &ana()).unwrap().passwd.unwrap();
    assert_eq!(
        after,
        b"root:x:0:0:r\xf6\xf6t:/root:/bin/sh\nana:*:1000:1000::/home/ana:/bin/bash\n+::::::\n"
    );
}

#[test]
fn names_that_would_break_the_files_are_refused() {
    for name in ["", "a:b", "a\nroot::0:0", "+", "#a"] {
        let odd = Account { name: name.into(), ..ana() };
        assert!(
            matches!(with_account(Files::default(), &odd), Err(AccountError::Odd(_))),
            "{name:?}"
        );
    }
    let odd = Account { home: "/home\nx:y".into(), ..ana() };
    assert!(with_account(Files::default(), &odd).is_err());
    let comma = Account { groups: vec![(5, "a,b".into())], ..ana() };
    assert_eq!(with_account(Files::default(), &comma).unwrap().group, None);
}

#[test]
fn a_machine_of_others_must_have_the_account() {
    let line = |text: &'static str| check(line_of(text.as_bytes(), "ana"), &ana());
    assert!(line("root:x:0:0:::\nana:x:1000:5::/h:/s\n").is_ok());
    let error = line("root:x:0:0:::\nanabel:x:1000:5::/h:/s\n").unwrap_err();
    assert_eq!(error.to_string(), "this machine has no account ana (number 1000)");
    assert!(line("ana:x:7:5::/h:/s\n").unwrap_err().to_string().contains("number 7"));
}

#[test]
fn an_empty_home_is_made_where_there_is_none() {
    let etc = Etc::new("home", &[]);
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let home = etc.0.join("homes/ana");
    let account = Account { uid, gid, home: home.display().to_string(), ..ana() };
    assert!(make_home(&account).unwrap());
    let meta = fs::metadata(&home).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o777), (uid, 0o700));
    assert!(!make_home(&account).unwrap());
    for none in ["/", "/nonexistent", "home", ""] {
        assert!(!make_home(&Account { home: none.into(), ..ana() }).unwrap(), "{none}");
    }
}

/// Two who add at once: both are there in the end.
#[test]
fn many_at_once_are_all_added() {
    let etc = Etc::new("many", &DEBIAN);
    std::thread::scope(|scope| {
        for number in 0..8_u32 {
            let etc = &etc.0;
            scope.spawn(move || {
                let account = Account { name: format!("u{number}"), uid: 5000 + number, ..ana() };
                add(etc, &account).unwrap();
            });
        }
    });
    let text = etc.text("passwd");
    assert!((0..8).all(|number| text.contains(&format!("\nu{number}:x:500{number}:"))), "{text}");
    assert_eq!(etc.text("group").matches("lab:").count(), 1);
}
