<?php
# The real module of Icinga Web reads the template file and finds its metrics among those that Icinga 2 has written.
# Standard input: {"template": path, "metrics": [...]}. Output: {graph: {curve: [what graphite-web is asked, ...]}}.

const MODULE = '/usr/share/icingaweb2/modules/graphite';
spl_autoload_register(function ($class) {
    $places = array('Icinga\\Module\\Graphite\\' => MODULE . '/library/Graphite/', 'Icinga\\' => '/usr/share/php/Icinga/');
    foreach ($places as $prefix => $folder) {
        if (strpos($class, $prefix) === 0) {
            require $folder . str_replace('\\', '/', substr($class, strlen($prefix))) . '.php';
            return;
        }
    }
});
require '/usr/share/icinga-php/ipl/vendor/autoload.php';

use Icinga\Module\Graphite\Graphing\Templates;

$given = json_decode(stream_get_contents(STDIN), true);
$found = array();
foreach ((new Templates())->loadIni($given['template'])->getTemplates('check_lync_presence') as $name => $template) {
    $found[$name] = array();
    foreach ($template->getFullCurves() as $curve => $pair) {
        $found[$name][$curve] = array();
        foreach ($given['metrics'] as $metric) {
            if ($pair[0]->reverseResolve($metric) !== false) {
                $found[$name][$curve][] = $pair[1]->resolve(array('metric' => $metric));
            }
        }
    }
}
echo json_encode($found);
