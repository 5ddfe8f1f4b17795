//! `USER@HOST:PORT`, as people write it.
use std::fmt;
use std::str::FromStr;

const PORT: u16 = 22;

/// An account on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub user: String,
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{}@{host}", self.user)?;
        if self.port == PORT { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, place) = text.rsplit_once('@').ok_or("an account is missing: USER@HOST")?;
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            // More than one colon without brackets: an address of version 6.
            None if place.matches(':').count() > 1 => (place, None),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port =
            port.map_or(Ok(PORT), str::parse).map_err(|_| "the port is no number up to 65535")?;
        let plain = |text: &str, more: &str| {
            // A leading dash would be an option to every program that it is handed to.
            let right = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
            !text.is_empty() && !text.starts_with('-') && text.chars().all(right)
        };
        if !plain(user, "-_.@\\") || !plain(host, "-_.:%") || port == 0 {
            return Err("it is not USER@HOST or USER@HOST:PORT".into());
        }
        Ok(Self { user: user.into(), host: host.into(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_shown_the_same_way() {
        for (text, user, host, port) in [
            ("ana@head.example", "ana", "head.example", 22),
            ("ana@head:2222", "ana", "head", 2222),
            ("ana@lab.example@10.0.0.1", "ana@lab.example", "10.0.0.1", 22),
            ("root@[::1]:2222", "root", "::1", 2222),
            ("root@[fe80::1%eth0]", "root", "fe80::1%eth0", 22),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((&*target.user, &*target.host, target.port), (user, host, port));
            assert_eq!(target.to_string(), text);
        }
        assert_eq!("root@::1".parse::<Target>().unwrap().to_string(), "root@[::1]");
        for bad in [
            "head",
            "@head",
            "ana@",
            "ana@-oProxyCommand=x",
            "-l@x",
            "a b@c",
            "a@b:0",
            "a@b:x",
            "a@b:70000",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
