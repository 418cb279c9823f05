<?php
// One of many clients that share a few connections: every answer carries its question's tag, whatever the others do.
require __DIR__ . '/mysql.php';
mt_srand((int) getenv('SEED'));
$rounds = (int) getenv('ROUNDS');
$asked = 0;
for ($round = 0; $round < $rounds; $round++) {
    $link = endpoint();
    $statements = mt_rand(1, 6);
    for ($n = 0; $n < $statements; $n++) {
        $tag = getenv('SEED') . "-$round-$n";
        $asked++;
        switch (mt_rand(0, 8)) {
            case 0:
                same($tag, one($link, "SELECT '$tag' FROM kv WHERE id = " . mt_rand(1, 1000)), 'a read');
                break;
            case 1:
                $link->begin_transaction();
                same($tag, one($link, "SELECT '$tag'"), 'a read in a transaction');
                $link->query("UPDATE kv SET v = v WHERE id = " . mt_rand(1, 1000));
                mt_rand(0, 1) ? $link->commit() : $link->rollback();
                break;
            case 2:
                $link->query("SET @tag = '$tag'");
                same($tag, one($link, 'SELECT @tag'), 'a user variable');
                break;
            case 3:
                $statement = $link->prepare("SELECT ?, '$tag'");
                $statement->bind_param('s', $tag);
                $statement->execute();
                same([$tag, $tag], $statement->get_result()->fetch_row(), 'a prepared statement');
                $statement->close();
                break;
            case 4:
                same(1146, error_of(fn () => $link->query("SELECT * FROM `$tag`")), 'an error');
                break;
            case 5:
                $rows = $link->query("SELECT CONCAT('$tag', '#', id) FROM kv WHERE id <= 300")->fetch_all();
                same(300, count($rows), 'many rows');
                same("$tag#300", $rows[299][0], 'the last of many rows');
                break;
            case 6:
                $link->multi_query("SELECT '$tag'; SELECT '$tag'");
                do {
                    same($tag, $link->store_result()->fetch_row()[0], 'one of several results');
                } while ($link->more_results() && $link->next_result());
                break;
            case 7:
                // left in the middle of a result that is larger than every buffer
                $link->query("SELECT REPEAT('$tag', 1000) FROM kv", MYSQLI_USE_RESULT)->fetch_row();
                unset($link);
                $link = endpoint();
                break;
            case 8:
                // left in the middle of a transaction
                $link->begin_transaction();
                $link->query("UPDATE kv SET v = 'stain' WHERE id = " . (1 + (int) getenv('SEED')));
                unset($link);
                $link = endpoint();
                break;
        }
    }
    $link->close();
}
echo $asked;
