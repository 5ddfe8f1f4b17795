//! `sacctmgr` and `sshare`: who has used which account.
//!
//! Invariant: read-only. An account is a label that anybody may give a job, so what is listed are
//! the labels in use. A program that asks whether an account is allowed (`-n`, as one that is not
//! the administrator) is told nothing, which every client takes for "no accounts are checked here":
//! a list of those in use would forbid it all others. Deliberately absent: limits and shares.
use super::table::{Chosen, Field, choose, columns, number, page as table_page, text};
use crate::options::{Effect, Table, Takes, Words, own};
use crate::refusal::Refusal;
use crate::words::columns::Look;
use crate::words::{Clock, job};
use pcluster_api::RecordList;
use std::collections::BTreeMap;

/// The options of `sacctmgr`.
pub const SACCTMGR: Table = Table::own(
    "sacctmgr",
    "show|list ENTITY [names...] [format=FIELDS]",
    "Shows users, accounts, clusters and labels of quality: read only.",
    "\
  sacctmgr show assoc format=Account,User
  sacctmgr -n -P list qos format=name
",
    &[
        own("associations", 's', Takes::Nothing, Effect::Used, "with accounts of users"),
        own("help", 'h', Takes::Nothing, Effect::Used, "this text"),
        own("immediate", 'i', Takes::Nothing, Effect::Silent("nothing is changed"), ""),
        own("json", '-', Takes::Maybe("VERSION"), Effect::Refused("use -P"), ""),
        own("noheader", 'n', Takes::Nothing, Effect::Used, "no headline"),
        own("oneliner", 'o', Takes::Nothing, Effect::Silent("one line each anyhow"), ""),
        own("parsable", 'p', Takes::Nothing, Effect::Used, "fields with | after each"),
        own("parsable2", 'P', Takes::Nothing, Effect::Used, "fields with | between"),
        own("quiet", 'Q', Takes::Nothing, Effect::Silent("nothing more is said"), ""),
        own("readonly", 'r', Takes::Nothing, Effect::Silent("it always is"), ""),
        own("usage", '-', Takes::Nothing, Effect::Used, "all options in short"),
        own("verbose", 'v', Takes::Nothing, Effect::Silent("nothing more is known"), ""),
        own("version", 'V', Takes::Nothing, Effect::Used, "the version that clients compare"),
        own("yaml", '-', Takes::Maybe("VERSION"), Effect::Refused("use -P"), ""),
    ],
);

/// The options of `sshare`.
pub const SSHARE: Table = Table::own(
    "sshare",
    "",
    "Shows what users and accounts have used: there are no shares, all are equal.",
    "  sshare -a\n  sshare -U --format Account%20 --noheader\n",
    &[
        own("accounts", 'A', Takes::Value("NAMES"), Effect::Used, "only these accounts"),
        own("all", 'a', Takes::Nothing, Effect::Used, "all users"),
        own("cluster", '-', Takes::Value("NAME"), Effect::Silent("there is one"), ""),
        own("clusters", 'M', Takes::Value("NAME"), Effect::Silent("there is one"), ""),
        own("format", 'o', Takes::Value("FIELDS"), Effect::Used, "fields: Account%20,User"),
        own("help", '-', Takes::Nothing, Effect::Used, "this text"),
        own("helpformat", 'e', Takes::Nothing, Effect::Used, "names of fields"),
        own("long", 'l', Takes::Nothing, Effect::Used, "more columns"),
        own("noheader", 'n', Takes::Nothing, Effect::Used, "no headline"),
        own("parsable", 'p', Takes::Nothing, Effect::Used, "fields with | after each"),
        own("parsable2", 'P', Takes::Nothing, Effect::Used, "fields with | between"),
        own("partition", 'm', Takes::Nothing, Effect::Silent("shares have no partitions"), ""),
        own("usage", '-', Takes::Nothing, Effect::Used, "all options in short"),
        own("users", 'u', Takes::Value("NAMES"), Effect::Used, "only these users"),
        own("Users", 'U', Takes::Nothing, Effect::Used, "only users, not their accounts"),
        own("verbose", 'v', Takes::Nothing, Effect::Silent("nothing more is known"), ""),
        own("version", 'V', Takes::Nothing, Effect::Used, "the version that clients compare"),
    ],
);

/// One line of either command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    pub cluster: String,
    pub account: String,
    pub user: String,
    pub name: String,
    pub kind: String,
    pub id: u32,
    /// CPU-seconds, of all and of these.
    pub used: (u64, u64),
    /// How far the account is below the root of all.
    depth: usize,
}

fn none(_: &Entry) -> String {
    String::new()
}

fn share(entry: &Entry) -> String {
    let (used, all) = entry.used;
    let millionths = (u128::from(used) * 1_000_000).checked_div(u128::from(all)).unwrap_or(0);
    format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000)
}

/// Fields of `sacctmgr`. The names are headings; [`known_as`] maps what users write.
const FIELDS: &[Field<Entry>] = &[
    text("Account", 10, |entry| entry.account.clone()),
    text("Admin", 9, |entry| if entry.user == "root" { "Administ+" } else { "None" }.to_owned()),
    text("Cluster", 10, |entry| entry.cluster.clone()),
    text("ControlHost", 15, none),
    text("ControlPort", 12, |_| "0".to_owned()),
    text("Coord Accounts", 20, none),
    text("Def Acct", 10, |entry| entry.user.clone()),
    text("Def QOS", 9, |_| "normal".to_owned()),
    text("Descr", 20, |entry| entry.account.clone()),
    text("Flags", 20, none),
    text("GraceTime", 10, |_| "00:00:00".to_owned()),
    text("GrpJobs", 7, none),
    text("GrpNodes", 8, none),
    text("GrpSubmit", 9, none),
    text("GrpTRES", 13, none),
    text("GrpTRESMins", 13, none),
    text("GrpTRESRunMins", 13, none),
    text("GrpWall", 11, none),
    number("ID", 6, |entry| entry.id.to_string()),
    text("MaxJobs", 7, none),
    text("MaxNodes", 8, none),
    text("MaxSubmit", 9, none),
    text("MaxTRES", 13, none),
    text("MaxTRESMins", 13, none),
    text("MaxTRESPA", 13, none),
    text("MaxTRESPerNode", 14, none),
    text("MaxTRESPU", 13, none),
    text("MaxJobsPU", 9, none),
    text("MaxSubmitPU", 11, none),
    text("MaxWall", 11, none),
    text("MinTRES", 13, none),
    text("Name", 10, |entry| entry.name.clone()),
    text("Org", 20, |entry| entry.account.clone()),
    text("ParentName", 10, |entry| if entry.user.is_empty() { "root" } else { "" }.to_owned()),
    text("Partition", 10, none),
    text("Preempt", 10, none),
    text("PreemptMode", 11, |_| "cluster".to_owned()),
    number("Priority", 10, |_| "0".to_owned()),
    text("QOS", 20, |_| "normal".to_owned()),
    number("RPC", 5, |_| "10240".to_owned()),
    number("Share", 9, |_| "1".to_owned()),
    text("Type", 8, |entry| entry.kind.clone()),
    text("UsageFactor", 11, |_| "1.000000".to_owned()),
    text("UsageThres", 10, none),
    text("User", 10, |entry| entry.user.clone()),
];

/// What users may write for a heading that is written otherwise.
fn known_as(word: &str) -> String {
    let (name, width) = word.split_once('%').map_or((word, ""), |(name, width)| (name, width));
    let lower = name.to_ascii_lowercase();
    let heading = match lower.as_str() {
        l if l.starts_with("defaulta") || l.starts_with("defacc") => "Def Acct",
        l if l.starts_with("defaultq") || l.starts_with("defqos") => "Def QOS",
        l if l.starts_with("fair") => "Share",
        l if l.starts_with("admin") => "Admin",
        l if l.starts_with("coord") => "Coord Accounts",
        l if l.starts_with("desc") => "Descr",
        l if l.starts_with("parent") => "ParentName",
        l if l.starts_with("maxtrespern") => "MaxTRESPerNode",
        l if l.starts_with("maxtresperu") => "MaxTRESPU",
        l if l.starts_with("maxjobsperu") => "MaxJobsPU",
        l if l.starts_with("maxsubmitjobsperu") => "MaxSubmitPU",
        l if l.starts_with("maxwall") => "MaxWall",
        l if l.starts_with("maxsubmit") => "MaxSubmit",
        l if l.starts_with("org") => "Org",
        "part" | "partitions" => "Partition",
        "acct" => "Account",
        _ => name,
    };
    if width.is_empty() { heading.to_owned() } else { format!("{heading}%{width}") }
}

/// Users with their accounts, as records know them, with the CPU-seconds that they have used.
#[must_use]
pub fn entries(list: &RecordList, clock: &Clock) -> Vec<Entry> {
    let clock = clock.clone().at(list.now_ms);
    let mut used: BTreeMap<(String, String), u64> = BTreeMap::new();
    for record in &list.records {
        let seconds = u64::try_from(job::run_seconds(record, &clock)).unwrap_or(0);
        let key = (record.account.clone(), record.user.clone());
        *used.entry(key).or_default() += seconds * job::cpus(record);
    }
    let all = used.values().sum();
    let entry = |((account, user), seconds): ((String, String), u64)| Entry {
        cluster: list.cluster.clone(),
        account,
        user,
        used: (seconds, all),
        ..Entry::default()
    };
    used.into_iter().map(entry).collect()
}

/// Who asks, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A program that wants to know whether an account is allowed.
    Checks,
    /// A program of the administrator, whose account is `root`.
    ChecksAsRoot,
    Reads,
}

impl Asker {
    /// By the options and the user.
    #[must_use]
    pub fn of(words: &Words, uid: u32) -> Self {
        match (words.has("noheader"), uid) {
            (false, _) => Self::Reads,
            (true, 0) => Self::ChecksAsRoot,
            (true, _) => Self::Checks,
        }
    }

    /// The users with accounts that this one is told of.
    #[must_use]
    pub fn told(self, list: &RecordList, clock: &Clock) -> Vec<Entry> {
        let mut found = if self == Self::Checks { Vec::new() } else { entries(list, clock) };
        let is_root = |entry: &Entry| entry.user == "root" && entry.account == "root";
        if self == Self::ChecksAsRoot && !found.iter().any(is_root) {
            let all = found.first().map_or(0, |entry| entry.used.1);
            found.push(Entry {
                cluster: list.cluster.clone(),
                account: "root".into(),
                user: "root".into(),
                used: (0, all),
                ..Entry::default()
            });
        }
        found
    }
}

/// `-p`, `-P` or aligned.
#[must_use]
pub fn look(words: &Words) -> Look {
    match words.last_of(&["parsable", "parsable2"]).map(|said| said.option.name) {
        Some("parsable2") => Look::Separated("|".into()),
        Some(_) => Look::Ended("|".into()),
        None => Look::Aligned,
    }
}

/// What comes after `show ENTITY`: names, conditions, fields.
#[derive(Debug, Default)]
struct Conditions {
    format: Option<String>,
    users: Vec<String>,
    accounts: Vec<String>,
    names: Vec<String>,
}

impl Conditions {
    fn of(words: &[String], entity: Entity) -> Self {
        let mut out = Self::default();
        let list = |text: &str| -> Vec<String> {
            text.split(',').map(str::to_owned).filter(|word| !word.is_empty()).collect()
        };
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or(("", word));
            match key.to_ascii_lowercase().as_str() {
                k if k.starts_with("form") => out.format = Some(value.to_owned()),
                k if k.starts_with("user") => out.users.extend(list(value)),
                k if k.starts_with("acc") => out.accounts.extend(list(value)),
                k if k.starts_with("name") => out.names.extend(list(value)),
                "" if matches!(value, "where" | "withassoc" | "tree" | "withcoord") => {}
                "" => match entity {
                    Entity::User => out.users.extend(list(value)),
                    Entity::Account | Entity::Association => out.accounts.extend(list(value)),
                    _ => out.names.extend(list(value)),
                },
                // Conditions on what there is nothing of choose nothing here.
                _ => {}
            }
        }
        out
    }

    fn takes(&self, entry: &Entry) -> bool {
        let among = |list: &[String], value: &String| list.is_empty() || list.contains(value);
        among(&self.users, &entry.user)
            && among(&self.accounts, &entry.account)
            && among(&self.names, &entry.name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entity {
    User,
    Account,
    Association,
    Cluster,
    Qos,
    Tres,
    /// One that there is nothing of here.
    Nothing,
}

fn entity_of(word: &str) -> Option<Entity> {
    let lower = word.to_ascii_lowercase();
    let is = |names: &[&str]| names.iter().any(|name| lower.len() >= 3 && name.starts_with(&lower));
    Some(match () {
        () if is(&["users"]) => Entity::User,
        () if is(&["accounts"]) => Entity::Account,
        () if is(&["associations", "assocs"]) => Entity::Association,
        () if is(&["clusters"]) => Entity::Cluster,
        () if is(&["qos"]) => Entity::Qos,
        () if is(&["tres"]) => Entity::Tres,
        () if is(&[
            "configuration",
            "coordinators",
            "events",
            "federations",
            "instances",
            "problems",
            "reservations",
            "resources",
            "runawayjobs",
            "stats",
            "transactions",
            "wckeys",
        ]) =>
        {
            Entity::Nothing
        }
        () => return None,
    })
}

const fn default_fields(entity: Entity, associations: bool) -> &'static str {
    match (entity, associations) {
        (Entity::User, true) => {
            "User,Def Acct,Admin,Cluster,Account,Partition,Share,Priority,MaxJobs,MaxNodes,MaxSubmit,MaxWall,QOS,Def QOS"
        }
        (Entity::User, false) => "User,Def Acct,Admin",
        (Entity::Account, true) => "Account,Descr,Org,Cluster,ParentName,User,Share,QOS,Def QOS",
        (Entity::Account, false) => "Account,Descr,Org",
        (Entity::Association, _) => {
            "Cluster,Account,User,Partition,Share,Priority,GrpJobs,GrpTRES,GrpSubmit,GrpWall,GrpTRESMins,MaxJobs,MaxTRES,MaxTRESPerNode,MaxSubmit,MaxWall,MaxTRESMins,QOS,Def QOS,GrpTRESRunMins"
        }
        (Entity::Cluster, _) => {
            "Cluster,ControlHost,ControlPort,RPC,Share,GrpJobs,GrpTRES,GrpSubmit,MaxJobs,MaxTRES,MaxSubmit,MaxWall,QOS,Def QOS"
        }
        (Entity::Qos, _) => {
            "Name,Priority,GraceTime,Preempt,PreemptMode,Flags,UsageThres,UsageFactor,GrpTRES,GrpTRESMins,GrpTRESRunMins,GrpJobs,GrpSubmit,GrpWall,MaxTRES,MaxTRESPerNode,MaxTRESMins,MaxWall,MaxTRESPU,MaxJobsPU,MaxSubmitPU,MaxTRESPA,MinTRES"
        }
        (Entity::Tres, _) => "Type,Name,ID",
        (Entity::Nothing, _) => "Name",
    }
}

/// `sacctmgr show …`.
///
/// # Errors
/// A verb that changes something, an entity or a field that is none.
pub fn sacctmgr(
    list: &RecordList,
    words: &Words,
    uid: u32,
    clock: &Clock,
) -> Result<String, Refusal> {
    let wrong = |text: String| Refusal::error("sacctmgr", text, 1);
    let mut rest = words.rest.iter();
    let verb = rest.next().map_or("", String::as_str).to_ascii_lowercase();
    if !matches!(verb.as_str(), "show" | "list" | "sho" | "lis") {
        return Err(wrong(format!("{verb}: accounts and their limits cannot be changed here"))
            .hint("an account is a label of a job: sbatch -A NAME"));
    }
    let name = rest.next().map_or("", String::as_str);
    let entity = entity_of(name).ok_or_else(|| {
        Refusal::plain("No valid entity in list command", 1)
            .hint("user, account, association, cluster, qos, tres")
    })?;
    let rest: Vec<String> = rest.cloned().collect();
    let conditions = Conditions::of(&rest, entity);
    let with = words.has("associations")
        || rest.iter().any(|word| word.to_ascii_lowercase().starts_with("witha"));
    let format = match &conditions.format {
        Some(text) => text.split(',').map(known_as).collect::<Vec<_>>().join(","),
        None => default_fields(entity, with).to_owned(),
    };
    let chosen =
        choose(FIELDS, &format).map_err(|word| wrong(format!("Unknown field '{word}'")))?;
    let mut found: Vec<Entry> = match entity {
        Entity::User | Entity::Account | Entity::Association => {
            Asker::of(words, uid).told(list, clock)
        }
        other => others(list, other),
    };
    found.retain(|entry| conditions.takes(entry));
    match (entity, with) {
        (Entity::User, false) => found.dedup_by(|a, b| a.user == b.user),
        (Entity::Account, false) => found.dedup_by(|a, b| a.account == b.account),
        _ => {}
    }
    Ok(table_page(&chosen, &found, &look(words), !words.has("noheader")))
}

fn others(list: &RecordList, entity: Entity) -> Vec<Entry> {
    let base = Entry { cluster: list.cluster.clone(), ..Entry::default() };
    match entity {
        Entity::Cluster => vec![Entry { name: base.cluster.clone(), ..base }],
        Entity::Qos => {
            let mut names: Vec<String> =
                list.records.iter().map(|record| job::qos(record).to_owned()).collect();
            names.push("normal".into());
            names.sort();
            names.dedup();
            names.into_iter().map(|name| Entry { name, ..base.clone() }).collect()
        }
        Entity::Tres => [
            ("cpu", "", 1),
            ("mem", "", 2),
            ("energy", "", 3),
            ("node", "", 4),
            ("billing", "", 5),
            ("fs", "disk", 6),
            ("vmem", "", 7),
            ("pages", "", 8),
            ("gres", "gpu", 1001),
        ]
        .map(|(kind, name, id)| Entry { kind: kind.into(), name: name.into(), id, ..base.clone() })
        .into(),
        _ => Vec::new(),
    }
}

/// Fields of `sshare`.
pub const SHARES: &[Field<Entry>] = &[
    text("Account", -20, |entry| format!("{}{}", " ".repeat(entry.depth), entry.account)),
    text("Cluster", 10, |entry| entry.cluster.clone()),
    number("EffectvUsage", 13, share),
    number("FairShare", 10, |_| "1.000000".to_owned()),
    text("GrpTRESMins", 30, none),
    text("GrpTRESRaw", 30, |entry| format!("cpu={}", entry.used.0 / 60)),
    number("ID", 6, |entry| entry.id.to_string()),
    number("LevelFS", 10, |_| "inf".to_owned()),
    number("NormShares", 11, |_| "1.000000".to_owned()),
    number("NormUsage", 11, share),
    text("Partition", 12, none),
    number("RawShares", 10, |_| "1".to_owned()),
    number("RawUsage", 11, |entry| entry.used.0.to_string()),
    text("TRESRunMins", 30, none),
    text("User", 10, |entry| entry.user.clone()),
];

fn share_columns(words: &Words) -> Result<Vec<Chosen<Entry>>, Refusal> {
    let format = match words.value("format") {
        Some(text) => text,
        None if words.has("long") => {
            "Account,User,RawShares,NormShares,RawUsage,NormUsage,EffectvUsage,FairShare,LevelFS,GrpTRESMins,TRESRunMins"
        }
        None => "Account,User,RawShares,NormShares,RawUsage,EffectvUsage,FairShare",
    };
    columns("sshare", SHARES, format)
}

/// `sshare`: the whole, each account, each user in it.
///
/// # Errors
/// A word that is no field.
pub fn sshare(
    list: &RecordList,
    words: &Words,
    uid: u32,
    clock: &Clock,
) -> Result<String, Refusal> {
    let chosen = share_columns(words)?;
    let split = |name: &str| {
        words.value(name).map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>())
    };
    let (accounts, users) = (split("accounts"), split("users"));
    let own_name =
        list.records.iter().find(|record| record.uid == uid).map(|record| record.user.clone());
    let mine =
        |entry: &Entry| uid == 0 || words.has("all") || own_name.as_ref() == Some(&entry.user);
    let mut found = Asker::of(words, uid).told(list, clock);
    found.retain(|entry| {
        accounts.as_ref().is_none_or(|list| list.contains(&entry.account))
            && users.as_ref().map_or_else(|| mine(entry), |list| list.contains(&entry.user))
    });
    if words.has("Users") {
        return Ok(table_page(&chosen, &found, &look(words), !words.has("noheader")));
    }
    let all = found.first().map_or(0, |entry| entry.used.1);
    let base = Entry { cluster: list.cluster.clone(), used: (all, all), ..Entry::default() };
    let mut rows = vec![Entry { account: "root".into(), ..base.clone() }];
    let mut last = String::new();
    for entry in &found {
        if entry.account != last {
            last.clone_from(&entry.account);
            let used =
                found.iter().filter(|other| other.account == last).map(|other| other.used.0).sum();
            rows.push(Entry { account: last.clone(), used: (used, all), depth: 1, ..base.clone() });
        }
        rows.push(Entry { depth: 2, ..entry.clone() });
    }
    Ok(table_page(&chosen, &rows, &look(words), !words.has("noheader")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{self, Order};
    use crate::words::made_up;

    fn list() -> RecordList {
        let mut ana = made_up::ended(1, "completed", Some(0), None);
        (ana.user, ana.uid, ana.account) = ("ana".into(), 1000, "lab".into());
        made_up::records(vec![ana, made_up::running(2)])
    }

    fn words(table: &Table, args: &str) -> Words {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        options::parse(table, &args, Order::Permute).expect("options")
    }

    fn manager(args: &str, uid: u32) -> Result<String, String> {
        let page = sacctmgr(&list(), &words(&SACCTMGR, args), uid, &made_up::clock());
        page.map_err(|refusal| refusal.text())
    }

    #[test]
    fn accounts_in_use_are_listed_for_people_and_not_held_against_programs() {
        let ask = "-n -s list user root format=account%20";
        assert_eq!(manager(ask, 0).as_deref(), Ok("                root \n"));
        assert_eq!(manager("-n -s list user ana format=account%20", 1000).as_deref(), Ok(""));
        let page = manager("-P show assoc format=Account,User,QOS", 1000);
        assert_eq!(page.as_deref(), Ok("Account|User|QOS\nlab|ana|normal\nroot|root|normal\n"));
        let page = manager("show user ana", 1000).expect("a page");
        assert_eq!(
            page,
            "      User   Def Acct     Admin \n---------- ---------- --------- \n       ana        ana      None \n"
        );
    }

    #[test]
    fn what_is_the_same_everywhere_is_listed() {
        assert_eq!(manager("-n -P list qos format=name", 1000).as_deref(), Ok("normal\n"));
        assert_eq!(manager("-n -P show cluster format=cluster", 1000).as_deref(), Ok("refc\n"));
        assert!(manager("-n -P show tres", 1000).expect("a page").ends_with("gres|gpu|1001\n"));
        assert_eq!(manager("-n show wckey", 1000).as_deref(), Ok(""));
    }

    #[test]
    fn nothing_can_be_changed() {
        let refused = manager("add account lab", 0).expect_err("refused");
        assert!(refused.starts_with("sacctmgr: error: add: accounts"), "{refused}");
        assert!(manager("show nonsense", 0).is_err());
        assert!(manager("show user format=nonsense", 0).is_err());
    }

    fn shares(args: &str, uid: u32) -> String {
        sshare(&list(), &words(&SSHARE, args), uid, &made_up::clock()).expect("a page")
    }

    #[test]
    fn shares_say_what_was_used() {
        assert_eq!(
            shares("-U --format Account%20 --noheader", 0).lines().last(),
            Some("                root ")
        );
        assert_eq!(shares("-U --format Account%256 --noheader", 1000), "");
        let page = shares("-a -P -o Account,User,RawUsage,EffectvUsage", 1000);
        assert_eq!(
            page,
            "Account|User|RawUsage|EffectvUsage\nroot||20|1.000000\n lab||10|0.500000\n  lab|ana|10|0.500000\n root||10|0.500000\n  root|root|10|0.500000\n"
        );
        let mine = shares("-P -o Account,User", 1000);
        assert_eq!(mine, "Account|User\nroot|\n lab|\n  lab|ana\n");
    }
}
