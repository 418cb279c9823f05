//! Tests of `command`.

use super::*;

#[test]
fn bytes_go_both_ways() {
    let known: Vec<Command> = (0..=255).filter_map(Command::from_byte).collect();
    assert_eq!(known.len(), 34);
    for command in known {
        assert_eq!(Command::from_byte(command.byte()), Some(command));
        assert!(command.name().starts_with("COM_"));
    }
    assert_eq!(
        (
            Command::Query.byte(),
            Command::StmtExecute.byte(),
            Command::ResetConnection.byte()
        ),
        (3, 0x17, 0x1F)
    );
}

#[test]
fn what_has_no_end_is_refused() {
    for command in [
        Command::BinlogDump,
        Command::BinlogDumpGtid,
        Command::Clone,
        Command::RegisterSlave,
    ] {
        assert_eq!(
            (command.kind(), command.reply()),
            (CommandKind::Refused, None)
        );
    }
    assert_eq!(Command::ChangeUser.kind(), CommandKind::Authentication);
    assert_eq!(Command::StmtClose.reply(), Some(ReplyShape::None));
    assert_eq!(Command::SetOption.reply(), Some(ReplyShape::OkOrErr));
}
