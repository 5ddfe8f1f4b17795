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
    let found = Chain::new().provide_credential(&context).await;
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
