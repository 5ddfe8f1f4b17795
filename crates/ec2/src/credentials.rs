//! What calls are signed with: the places where AWS's own tools look, in their order.
//!
//! Invariant: a place that is configured and fails is said, and no other identity is taken instead. They are
//! asked again two minutes before credentials end. Deliberately absent: keeping credentials anywhere.
mod profiles;

use crate::http::Http;
use profiles::{RoleOfProfile, SignOnSession};
use reqsign_aws_v4::{
    AssumeRoleWithWebIdentityCredentialProvider, Credential, ECSCredentialProvider,
    EnvCredentialProvider, IMDSv2CredentialProvider, ProcessCredentialProvider,
    ProfileCredentialProvider, RequestSigner, SSOCredentialProvider,
};
use reqsign_core::{
    CommandExecute, CommandOutput, Context, Env, Error, FileRead, ProvideCredential,
    ProvideCredentialDyn, Result, Signer,
};
use std::fmt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

const INSTANCE_ROLE: &str = "the role of this machine";
/// A `credential_process` that takes longer has failed.
const COMMAND: Duration = Duration::from_secs(60);
/// A file of credentials is a page.
const LARGEST_FILE: u64 = 1 << 20;

/// Signs calls of `ec2` in a region.
pub(crate) fn signer(http: &Http, env: impl Env, region: &str) -> Signer<Credential> {
    let context = Context::new()
        .with_file_read(Files)
        .with_http_send(http.clone())
        .with_env(env)
        .with_command_execute(Commands);
    Signer::new(context, Chain::new(region), RequestSigner::new("ec2", region))
}

type Source = Arc<dyn ProvideCredentialDyn<Credential = Credential>>;

/// All places, in order.
struct Chain(Vec<(&'static str, Source)>);

impl fmt::Debug for Chain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Chain {
    fn new(region: &str) -> Self {
        Self(vec![
            ("the environment", Arc::new(EnvCredentialProvider::new())),
            ("the role of the profile", Arc::new(RoleOfProfile { region: region.to_owned() })),
            ("the profile", Arc::new(ProfileCredentialProvider::new())),
            ("single sign-on", Arc::new(SignOnSession)),
            ("single sign-on", Arc::new(SSOCredentialProvider::new())),
            ("the web identity", Arc::new(AssumeRoleWithWebIdentityCredentialProvider::new())),
            ("credential_process", Arc::new(ProcessCredentialProvider::new())),
            ("the container's role", Arc::new(ECSCredentialProvider::new())),
            (INSTANCE_ROLE, Arc::new(IMDSv2CredentialProvider::new())),
        ])
    }
}

impl ProvideCredential for Chain {
    type Credential = Credential;

    async fn provide_credential(&self, context: &Context) -> Result<Option<Credential>> {
        for (name, source) in &self.0 {
            match source.provide_credential_dyn(context).await {
                Ok(Some(credential)) => {
                    tracing::debug!(from = name, "credentials for EC2");
                    return Ok(Some(credential));
                }
                Ok(None) => {}
                Err(error) if *name == INSTANCE_ROLE => {
                    return Err(Error::credential_invalid(format!(
                        "there are no AWS credentials: none in the environment or in ~/.aws, and {name} cannot be \
                         had ({error})"
                    )));
                }
                Err(error) => {
                    return Err(Error::credential_invalid(format!(
                        "{name} gives no credentials: {error}"
                    )));
                }
            }
        }
        Err(Error::credential_invalid(
            "there are no AWS credentials: none in the environment, in ~/.aws or of this machine",
        ))
    }
}

#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> Result<Vec<u8>> {
        use tokio::io::AsyncReadExt as _;
        let read = async {
            let mut bytes = Vec::new();
            let file = tokio::fs::File::open(path).await?;
            file.take(LARGEST_FILE).read_to_end(&mut bytes).await?;
            Ok::<_, std::io::Error>(bytes)
        };
        read.await.map_err(|error| Error::config_invalid(format!("{path}: {error}")))
    }
}

#[derive(Debug)]
struct Commands;

impl CommandExecute for Commands {
    async fn command_execute<'a>(
        &'a self,
        program: &'a str,
        args: &'a [&'a str],
    ) -> Result<CommandOutput> {
        let mut command = tokio::process::Command::new(program);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        let failed = |why: String| Error::config_invalid(format!("{program}: {why}"));
        match tokio::time::timeout(COMMAND, command.output()).await {
            Ok(Ok(output)) => Ok(CommandOutput {
                status: output.status.code().unwrap_or(-1),
                stdout: output.stdout,
                stderr: output.stderr,
            }),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer within {} s", COMMAND.as_secs()))),
        }
    }
}

#[cfg(test)]
mod tests;
