<?php
// The shop's goods: name, shape and colour (hue in degrees) of the picture, price in cents, one line about it. The pictures and the
// rows of the table are both made from this.
declare(strict_types=1);

$goods = [
    ['Storm Lantern', 'lantern', 28, 4900, 'Burns on through wind and rain; galvanised, with a wire guard.'],
    ['Harbour Lantern', 'lantern', 205, 6400, 'Blue enamel, made for quays and jetties.'],
    ['Railway Signal', 'lantern', 140, 8900, 'Green glass, a bail handle, and a bull\'s-eye lens.'],
    ['Barn Lantern', 'lantern', 8, 3900, 'Red and simple. Hangs from any nail.'],
    ['Old Town Post', 'street', 220, 38900, 'Cast iron, four panes, three metres tall.'],
    ['Park Post', 'street', 150, 34900, 'A slender post for paths between trees.'],
    ['Quay Post', 'street', 190, 36900, 'Heavy foot, salt-proof paint.'],
    ['Station Post', 'street', 260, 42900, 'The one from the platform, with a violet pane.'],
    ['Reading Lamp', 'table', 45, 7900, 'A brass foot and a shade that keeps the light on the page.'],
    ['Banker Lamp', 'table', 150, 11900, 'The green one. No desk looks idle beneath it.'],
    ['Bedside Lamp', 'table', 340, 5900, 'Soft rose light for the last chapter.'],
    ['Studio Lamp', 'table', 205, 8400, 'A wide linen shade, steady on its feet.'],
    ['Clear Bulb', 'bulb', 48, 700, 'A long filament in clear glass.'],
    ['Amber Bulb', 'bulb', 30, 900, 'Warm as tea.'],
    ['Smoke Bulb', 'bulb', 215, 1100, 'Grey glass for rooms with too much light.'],
    ['Rose Bulb', 'bulb', 345, 1100, 'Flatters everybody.'],
    ['Kitchen Pendant', 'pendant', 15, 9900, 'Hangs low over the table and minds its own business.'],
    ['Workshop Pendant', 'pendant', 210, 8700, 'Deep enamel shade, as in every good workshop.'],
    ['Bakery Pendant', 'pendant', 40, 10400, 'Yellow outside, white inside.'],
    ['Garden Pendant', 'pendant', 120, 9400, 'For the pergola; does not mind rain.'],
    ['Beeswax Candle', 'candle', 45, 600, 'Burns eight hours and smells of summer.'],
    ['Red Candle', 'candle', 2, 500, 'For long tables.'],
    ['Blue Candle', 'candle', 215, 500, 'For short nights.'],
    ['Chapel Candle', 'candle', 60, 900, 'Tall, pale and patient.'],
];

return array_map(static fn (array $of): array => [
    'name' => $of[0],
    'shape' => $of[1],
    'hue' => $of[2],
    'price_cents' => $of[3],
    'blurb' => $of[4],
    'picture' => strtolower(str_replace(' ', '-', $of[0])) . '.svg',
], $goods);
