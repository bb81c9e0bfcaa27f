//! Whether the service may read its files: `check` is mostly run by root, who may read everything.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Finding;

/// The user that the service runs as.
pub(super) struct Service {
    name: String,
    uid: u32,
    groups: Vec<u32>,
}

impl Service {
    /// The owner of `data_dir`; `None` unless root runs this and the owner is another user.
    pub(super) fn of(data_dir: &Path) -> Option<Self> {
        let directory = data_dir.metadata().ok()?;
        if !rustix::process::geteuid().is_root() || directory.uid() == 0 {
            return None;
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let group = fs::read_to_string("/etc/group").unwrap_or_default();
        Some(Self::known(directory.uid(), directory.gid(), &passwd, &group))
    }

    /// By the files of passwd(5) and group(5); a user in neither has the group `gid`.
    fn known(uid: u32, gid: u32, passwd: &str, group: &str) -> Self {
        let fields = |line: &'_ str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let user = passwd.lines().map(fields).find(|user| user.get(2) == Some(&uid.to_string()));
        let name = user.as_ref().map_or_else(|| format!("{uid}"), |user| user[0].clone());
        let primary = user.and_then(|user| user.get(3)?.parse().ok()).unwrap_or(gid);
        let is_member = |group: &Vec<String>| {
            group.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
        };
        let others = group.lines().map(fields).filter(is_member).filter_map(|group| group[2].parse().ok());
        let groups = [primary].into_iter().chain(others).collect();
        Service { name, uid, groups }
    }

    /// What keeps it from reading `path`, if anything does. (Access control lists are ignored.)
    pub(super) fn complaint(&self, about: &str, path: &Path) -> Option<Finding> {
        let path = std::path::absolute(path).ok()?;
        let (shown, name) = (path.display(), &self.name);
        let what = format!("{shown}: the service (user {name}) cannot read it");
        if let Some(directory) = path.ancestors().skip(1).find(|directory| !self.may(directory, 0o1)) {
            let directory = directory.display();
            let remedy = format!("chgrp {name} {directory} && chmod g+x {directory}");
            return Some(Finding::error(about, format!("{what}: {directory} is closed to it"), remedy));
        }
        let remedy = format!("chgrp {name} {shown} && chmod 640 {shown}");
        (!self.may(&path, 0o4)).then(|| Finding::error(about, what, remedy))
    }

    /// Whether the permissions that apply to it (owner's, group's, others') include `right`. Files that cannot be
    /// read at all are reported by another check.
    fn may(&self, path: &Path, right: u32) -> bool {
        let Ok(found) = path.metadata() else { return true };
        let class = match () {
            () if found.uid() == self.uid => 6,
            () if self.groups.contains(&found.gid()) => 3,
            () => 0,
        };
        found.mode() >> class & right != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_groups_are_those_of_the_system_s_files() {
        let passwd = "root:x:0:0::/root:/bin/sh\ntempalias:x:105:110::/var/lib/tempalias:/bin/false\n";
        let group = "root:x:0:\nssl-cert:x:44:www-data,tempalias\ntempalias:x:110:\nmail:x:8:other\n";
        let service = Service::known(105, 7, passwd, group);
        assert_eq!((service.name.as_str(), service.groups), ("tempalias", vec![110, 44]));
        let service = Service::known(106, 7, passwd, group);
        assert_eq!((service.name.as_str(), service.groups), ("106", vec![7]));
    }
}
