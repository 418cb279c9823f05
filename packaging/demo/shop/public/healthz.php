<?php
// What the agent asks on its own clock: do Apache and PHP answer? It looks at nothing that other instances share, so that a fault
// of MySQL or Redis never makes every instance sick at once.
declare(strict_types=1);

header('Content-Type: text/plain; charset=utf-8');
header('Cache-Control: no-store');
echo "ok\n";
