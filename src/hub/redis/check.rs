//! The check of a server at the start: its version, and what it does when its memory is full.

use redis::Value;

use super::{
    connection::SharedConnection,
    error::{CommandError, RedisLogError},
    keys::Keys,
    warning::RedisWarning,
};

/// Checks the server's version and settings.
pub(super) async fn check_server(
    connection: &SharedConnection,
) -> Result<Vec<RedisWarning>, RedisLogError> {
    let info = |section: &str| {
        let mut info = redis::cmd("INFO");
        info.arg(section);
        info
    };
    let sections = ["server", "memory", "replication"].map(info);
    let [server, memory, replication] = match connection.query(sections, "").await {
        Ok(info) => info.map(text),
        Err(CommandError::Refused(RedisLogError::NoPermission(_))) => {
            return Ok(vec![RedisWarning::InfoDenied]);
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(version) = field(&server, "redis_version").filter(|version| is_too_old(version)) {
        return Err(RedisLogError::TooOld(version.to_owned()));
    }
    if field(&replication, "role") == Some("slave") {
        let why = "it is a replica".to_owned();
        return Err(RedisLogError::Unavailable(why));
    }
    let is_limited = field(&memory, "maxmemory").is_some_and(|maximum| maximum != "0");
    let policy = field(&memory, "maxmemory_policy").unwrap_or_default();
    Ok(match is_limited && !["", "noeviction"].contains(&policy) {
        true => vec![RedisWarning::EvictionPolicy(policy.to_owned())],
        false => Vec::new(),
    })
}

/// Checks that the user of the connection may run every command that the log needs.
///
/// A script that runs into a forbidden command does not name it. So each is tried with an argument that
/// it rejects: the server checks permissions first.
pub(super) async fn check_permissions(
    connection: &SharedConnection,
    keys: &Keys,
) -> Result<(), RedisLogError> {
    let stream = keys.stream.as_str();
    let commands: [&[&str]; 10] = [
        &["EVAL", "return 1", "0"],
        &["GET", stream],
        &["SET", stream, "", "?"],
        &["TYPE", stream],
        &["XADD", stream, "?", "", ""],
        &["XDEL", stream, "?"],
        &["XRANGE", stream, "?", "?"],
        &["XREAD", "STREAMS", stream, "?"],
        &["XREVRANGE", stream, "?", "?"],
        &["XTRIM", stream, "?", "0"],
    ];
    let commands = commands.map(|command| {
        let mut cmd = redis::cmd(command[0]);
        cmd.arg(&command[1..]);
        cmd
    });
    match connection.query(commands, stream).await {
        Err(CommandError::Refused(error)) if !matches!(error, RedisLogError::NoPermission(_)) => {
            Ok(())
        }
        checked => Ok(checked.map(drop)?),
    }
}

fn text(reply: Value) -> String {
    match reply {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    }
}

/// Returns the value of a line `name:value`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let name = format!("{name}:");
    info.lines().find_map(|line| line.strip_prefix(&*name))
}

/// Returns whether a version is less than 6.2. A version of another form is not.
fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    let major: Option<u32> = numbers.next();
    major.is_some_and(|major| (major, numbers.next().unwrap_or_default()) < (6, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_6_2_are_too_old() {
        let versions = ["2.8.9", "6.0.16", "6.2.0", "7.0.15", "7.2.4", "10.0", "x"];
        let too_old = versions.map(is_too_old);
        assert_eq!(too_old, [true, true, false, false, false, false, false]);
    }

    #[test]
    fn a_field_has_its_whole_name() {
        let info = "# Memory\r\nmaxmemory_policy:noeviction\r\nmaxmemory:7\r\n";
        assert_eq!(field(info, "maxmemory"), Some("7"));
        assert_eq!(field(info, "policy"), None);
    }
}
