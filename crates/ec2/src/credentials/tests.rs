//! The places in their order, each with what AWS's own tools write there.
use super::*;
use crate::client::tests::{environment, header, server};
use reqsign_core::StaticEnv;
use std::path::PathBuf;

struct Home(PathBuf);

impl Home {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder =
            std::env::temp_dir().join(format!("pcluster-aws-{name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join(".aws")).unwrap();
        for (file, text) in files {
            std::fs::write(folder.join(".aws").join(file), text).unwrap();
        }
        Self(folder)
    }

    fn env(&self, pairs: &[(&str, &str)]) -> StaticEnv {
        StaticEnv { home_dir: Some(self.0.clone()), ..environment(pairs) }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn found(env: StaticEnv) -> std::result::Result<String, String> {
    let context = Context::new()
        .with_file_read(Files)
        .with_http_send(Http::new(None).unwrap())
        .with_env(env)
        .with_command_execute(Commands);
    let found = Chain::new("us-east-1").provide_credential(&context).await;
    found.map(|found| found.unwrap().access_key_id).map_err(|error| error.to_string())
}

const OFF: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

#[tokio::test]
async fn the_environment_comes_before_the_files_and_these_before_a_program() {
    let home = Home::new(
        "order",
        &[
            (
                "credentials",
                "[default]\naws_access_key_id = FILE\naws_secret_access_key = s\n\
                             [lab]\naws_access_key_id = LAB\naws_secret_access_key = s\n",
            ),
            (
                "config",
                "[profile tool]\ncredential_process = /bin/echo \
                        {\"Version\":1,\"AccessKeyId\":\"TOOL\",\"SecretAccessKey\":\"s\"}\n",
            ),
        ],
    );
    let keys = [("AWS_ACCESS_KEY_ID", "ENV"), ("AWS_SECRET_ACCESS_KEY", "s"), OFF];
    assert_eq!(found(home.env(&keys)).await.unwrap(), "ENV");
    assert_eq!(found(home.env(&[OFF])).await.unwrap(), "FILE");
    assert_eq!(found(home.env(&[("AWS_PROFILE", "lab"), OFF])).await.unwrap(), "LAB");
    assert_eq!(found(home.env(&[("AWS_PROFILE", "tool"), OFF])).await.unwrap(), "TOOL");
}

#[tokio::test]
async fn a_place_that_fails_is_said_and_nobody_else_is_taken() {
    let home = Home::new("fails", &[("config", "[default]\ncredential_process = /bin/false\n")]);
    let why = found(home.env(&[])).await.unwrap_err();
    assert!(why.contains("credential_process gives no credentials"), "{why}");
}

#[tokio::test]
async fn the_role_of_the_machine_comes_last_and_by_a_session() {
    let role = "{\"Code\":\"Success\",\"AccessKeyId\":\"ROLE\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\
                \"Expiration\":\"2999-01-01T00:00:00Z\"}";
    let (address, said) = server(vec![(200, "the token"), (200, "nodes"), (200, role)]).await;
    let home = Home::new("role", &[]);
    let env = home.env(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &address)]);
    assert_eq!(found(env).await.unwrap(), "ROLE");
    assert!(said.recv().unwrap().starts_with("PUT /latest/api/token "));
    let asked = said.recv().unwrap();
    assert_eq!(header(&asked, "x-aws-ec2-metadata-token").as_deref(), Some("the token"));
    let why = found(home.env(&[OFF])).await.unwrap_err();
    assert!(why.contains("there are no AWS credentials"), "{why}");
}

/// Plays the services of AWS by their names.
#[derive(Debug, Clone, Default)]
struct Aws(Arc<std::sync::Mutex<Vec<String>>>);

impl reqsign_core::HttpSend for Aws {
    async fn http_send(
        &self,
        request: hyper::Request<hyper::body::Bytes>,
    ) -> Result<hyper::Response<hyper::body::Bytes>> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let told = request.headers().values().filter_map(|value| value.to_str().ok());
        let told = told.map(str::to_owned).collect::<Vec<_>>().join(" ");
        let asked = format!("{} {told} {}", request.uri(), String::from_utf8_lossy(request.body()));
        self.0.lock().unwrap().push(asked.clone());
        let key =
            if asked.contains("second") { "ASIASECOND0000000000" } else { "ASIAFIRST00000000000" };
        let text = match host.as_str() {
            "sts.us-east-1.amazonaws.com" => format!(
                "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
                 <AccessKeyId>{key}</AccessKeyId><SecretAccessKey>0123456789012345678901234567890123456789</SecretAccessKey><SessionToken>t</SessionToken>\
                 <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
            ),
            "portal.sso.eu-west-1.amazonaws.com" => {
                "{\"roleCredentials\":{\"accessKeyId\":\"SIGNED-ON\",\"secretAccessKey\":\"s\",\"sessionToken\":\"t\",\
                 \"expiration\":32472144000000}}"
                    .into()
            }
            other => return Err(Error::unexpected(format!("nobody plays {other}"))),
        };
        Ok(hyper::Response::new(hyper::body::Bytes::from(text)))
    }
}

async fn played(env: StaticEnv, aws: &Aws) -> std::result::Result<String, String> {
    let context = Context::new()
        .with_file_read(Files)
        .with_http_send(aws.clone())
        .with_env(env)
        .with_command_execute(Commands);
    let found = Chain::new("us-east-1").provide_credential(&context).await;
    found.map(|found| found.unwrap().access_key_id).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_profile_takes_a_role_with_the_keys_of_another() {
    let config = "[profile one]\nrole_arn = arn:aws:iam::123456789012:role/first\nsource_profile = keys\n\
                  external_id = outside\n[profile two]\nrole_arn = arn:aws:iam::123456789012:role/second\n\
                  source_profile = one\n[profile factor]\nrole_arn = arn:aws:iam::123456789012:role/first\n\
                  source_profile = keys\nmfa_serial = arn:aws:iam::123456789012:mfa/ana\n[profile lost]\n\
                  role_arn = arn:aws:iam::123456789012:role/first\n[profile round]\nsource_profile = about\n\
                  role_arn = arn:aws:iam::123456789012:role/first\n[profile about]\nsource_profile = round\n\
                  role_arn = arn:aws:iam::123456789012:role/first\n";
    let keys = "[keys]\naws_access_key_id = KEYS\naws_secret_access_key = s\n";
    let home = Home::new("roles", &[("config", config), ("credentials", keys)]);
    let aws = Aws::default();
    let of = |profile| home.env(&[("AWS_PROFILE", profile), OFF]);
    assert_eq!(played(of("one"), &aws).await.unwrap(), "ASIAFIRST00000000000");
    let asked = aws.0.lock().unwrap().join("\n");
    assert!(asked.contains("Credential=KEYS/") && asked.contains("/us-east-1/sts/"), "{asked}");
    assert!(asked.contains("outside") && asked.contains("role%2Ffirst"), "{asked}");
    assert_eq!(played(of("two"), &aws).await.unwrap(), "ASIASECOND0000000000");
    let asked = aws.0.lock().unwrap().join("\n");
    assert!(asked.contains("Credential=ASIAFIRST00000000000/"), "by way of the first: {asked}");
    assert_eq!(played(of("keys"), &aws).await.unwrap(), "KEYS");
    for (profile, word) in [
        ("factor", "second factor"),
        ("lost", "has no source_profile"),
        ("round", "back to itself"),
    ] {
        let why = played(of(profile), &aws).await.unwrap_err();
        assert!(why.contains("the role of the profile") && why.contains(word), "{why}");
    }
}

#[tokio::test]
async fn a_session_of_single_sign_on_is_used_until_it_has_ended() {
    let config = "[sso-session lab]\nsso_region = eu-west-1\nsso_start_url = https://lab.awsapps.com/start\n\
                  [profile ana]\nsso_session = lab\nsso_account_id = 123456789012\nsso_role_name = Admin\n\
                  [profile role]\nrole_arn = arn:aws:iam::123456789012:role/first\nsource_profile = ana\n";
    let home = Home::new("sso", &[("config", config)]);
    let cache = home.0.join(".aws/sso/cache");
    std::fs::create_dir_all(&cache).unwrap();
    // `printf lab | sha1sum`, as AWS's own command names it.
    let token = cache.join("3953f9ddf975ab5097ee468d99555c5b441169bf.json");
    let write = |until: &str| {
        let text = format!("{{\"accessToken\": \"the-token\", \"expiresAt\": \"{until}\"}}");
        std::fs::write(&token, text).unwrap();
    };
    let aws = Aws::default();
    let of = |profile| home.env(&[("AWS_PROFILE", profile), OFF]);
    write("2999-01-01T00:00:00Z");
    assert_eq!(played(of("ana"), &aws).await.unwrap(), "SIGNED-ON");
    assert!(aws.0.lock().unwrap()[0].contains("the-token"));
    assert_eq!(played(of("role"), &aws).await.unwrap(), "ASIAFIRST00000000000");
    write("2001-01-01T00:00:00Z");
    let why = played(of("ana"), &aws).await.unwrap_err();
    assert!(why.contains("aws sso login"), "{why}");
}
