from codial.evaluate.transfer import TransferReport
from codial.results.paper import printed_transfer
from codial.results.transfer_table import transfer_table


def test_the_papers_numbers_follow_ours():
    report = TransferReport("mAP", 12.34, {}, "", "", "", 0)
    lines = transfer_table({"codial/photos": [report] * 3, "mine": [report] * 3}).splitlines()[2:]
    assert lines[0].split() == ["codial/photos", "12.3", "12.3", "12.3"]
    columns = ("voc2007 classification", "voc2007 detection", "voc2012 segmentation")
    assert lines[1].split()[3:] == [f"{printed_transfer('codial', column):.1f}" for column in columns]
    assert lines[2].split() == ["mine", "12.3", "12.3", "12.3"]
    assert len(lines) == 3
